"""The completion scripts, in the shells that they are for."""

import os
import pty
import select
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.command import COMMAND, PATIENCE, environment, run
from tests.peers.daemons import find

CASES = [
    ("neosocksd ch", "check"),
    ("neosocksd --max-st", "--max-startups"),
    ("neosocksd --listen 127.0.0.1:1 pl", "plugins"),
    ("neosocksd completion f", "fish"),
    ("neosocksd --log sys", "syslog"),
    ("neosocksd --loop uv", "uvloop"),
    ("neosocksd -c ./only-f", "./only-file.toml"),
    ("neosocksd hash-p", "hash-password"),
]

BASH = r"""
set -eu
eval "$(neosocksd completion bash)"
line=$1
read -ra COMP_WORDS <<<"$line"
COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) COMP_LINE=$line COMP_POINT=${#line}
function=$(complete -p neosocksd | sed 's/.*-F \([^ ]*\) .*/\1/')
"$function" neosocksd "${COMP_WORDS[-1]}" "${COMP_WORDS[-2]}"
printf '%s\n' "${COMPREPLY[@]}"
"""

FISH = "neosocksd completion fish | source; complete -C $argv[1]"


def shell(*command: str, folder: Path) -> list[str]:
    """What a shell prints, without the descriptions that stand behind a tab."""
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=PATIENCE, check=True,
        cwd=folder, env=with_our_command(folder),
    )  # fmt: skip
    assert done.stderr == ""
    return [line.partition("\t")[0] for line in done.stdout.splitlines()]


def with_our_command(home: Path) -> dict[str, str]:
    path = f"{COMMAND.parent}:{os.environ['PATH']}"
    return environment(PATH=path, HOME=str(home), TERM="dumb", XDG_CONFIG_HOME=str(home))


def by_bash(line: str, folder: Path) -> list[str]:
    return shell(find("bash"), "-c", BASH, "bash", line, folder=folder)


def by_fish(line: str, folder: Path) -> list[str]:
    return shell(find("fish"), "--no-config", "-c", FISH, line, folder=folder)


def by_zsh(line: str, folder: Path) -> list[str]:
    """zsh completes on a terminal only: type there, press the key, and read what the line has become."""
    command = [find("zsh"), "-f", "-i"]
    ours, theirs = pty.openpty()
    try:
        with subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
            cwd=folder, env=with_our_command(folder),
        ) as process:  # fmt: skip
            try:
                begin = 'autoload -U compinit; compinit -D -u; eval "$(neosocksd completion zsh)"'
                os.write(ours, f"{begin}; PS1='rea''dy> '\n".encode())
                read_until(ours, "ready> ")
                os.write(ours, f"{line}\t".encode())
                words = read_until(ours, " ", after=line.rpartition(" ")[0] + " ")
            finally:
                process.kill()
    finally:
        os.close(ours)
        os.close(theirs)
    return [words]


def read_until(terminal: int, end: str, after: str = "") -> str:
    """Read up to *end*; returns what stood between it and *after*."""
    seen = ""
    while True:
        if after in seen:
            rest = seen[seen.index(after) + len(after) :]
            if end in rest:
                return rest.partition(end)[0]
        assert select.select([terminal], [], [], PATIENCE)[0], f"no {end!r} in {seen!r}"
        seen += os.read(terminal, 4096).decode()


@pytest.mark.parametrize("complete", [by_bash, by_fish, by_zsh])
@pytest.mark.parametrize(("line", "word"), CASES, ids=[line for line, _ in CASES])
def test_a_shell_completes_commands_flags_values_and_files(
    complete: Callable[[str, Path], list[str]], line: str, word: str, tmp_path: Path
) -> None:
    (tmp_path / "only-file.toml").touch()
    assert complete(line, tmp_path) == [word]


def test_an_unknown_shell_is_an_error() -> None:
    done = run("completion", "tcsh")
    assert (done.returncode, done.stdout) == (2, "")
    assert "invalid choice" in done.stderr
