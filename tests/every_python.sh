#!/bin/sh
# Runs the suite on every CPython from 3.11 on that this machine has: on the path, as pythonX.Y, and those of pyenv.
set -u
cd "$(dirname "$0")/.." || exit 1

probe='import sys, platform
ok = sys.version_info >= (3, 11) and platform.python_implementation() == "CPython"
print("%d.%d%s" % (*sys.version_info[:2], getattr(sys, "abiflags", "")) if ok else "")'

seen=""
failed=""
for python in "${PYTHON:-python3}" python3.11 python3.12 python3.13 python3.14 python3.15 \
    "${PYENV_ROOT:-$HOME/.pyenv}"/versions/*/bin/python3; do
    version=$("$python" -c "$probe" 2>/dev/null) || continue
    [ -n "$version" ] || continue
    case " $seen " in *" $version "*) continue ;; esac
    seen="$seen $version"
    venv=".venvs/$version"
    echo "== CPython $version ($python)"
    if [ ! -e "$venv/.tested" ] || [ pyproject.toml -nt "$venv/.tested" ]; then
        "$python" -m venv "$venv" &&
            "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --editable '.[test]' &&
            touch "$venv/.tested" || { failed="$failed $version"; continue; }
    fi
    "$venv/bin/python" -m pytest || failed="$failed $version"
done

[ -n "$seen" ] || { echo "no CPython from 3.11 on was found"; exit 1; }
echo "== tried:$seen"
[ -z "$failed" ] || { echo "== failed:$failed"; exit 1; }
