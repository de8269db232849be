# Each target makes the virtual environment that it needs, from nothing but python3, its venv module and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

SOCKS ?= 127.0.0.1:1080
HTTP ?= 127.0.0.1:8080
API ?= 127.0.0.1:9080
RULESET ?= ruleset.lua

.PHONY: run test check format test-all clean

run: $(VENV)/.installed $(RULESET)
	@echo
	@echo "SOCKS on $(SOCKS), HTTP on $(HTTP), the page on http://$(API)/. In another terminal, try:"
	@echo "    curl --proxy socks5h://$(SOCKS) https://example.com/"
	@echo "    curl --proxy http://$(HTTP) https://example.com/"
	@echo "    $(BIN)/neosocksd top --api $(API)"
	@echo "Edit $(RULESET) and press Reload on the page. Control-C stops it."
	@echo
	@exec $(BIN)/neosocksd --listen $(SOCKS) --http $(HTTP) --api $(API) --ruleset $(RULESET) --loglevel 5

# A copy to edit; the example stays as it is.
$(RULESET):
	cp plugins/lua_ruleset/examples/simple.lua $@

test: $(VENV)/.tested
	$(BIN)/python -m pytest

check: $(VENV)/.developed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy neosocksd_core neosocksd_http1 plugins tests examples benchmarks
	$(BIN)/pyright --pythonpath $(BIN)/python

format: $(VENV)/.developed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test-all:
	PYTHON=$(PYTHON) sh tests/every_python.sh

clean:
	rm -rf $(VENV) .venvs .mypy_cache .pytest_cache .ruff_cache .hypothesis

# What is installed depends on the manifest alone: the package is installed in place.

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, PYTHON=... names another")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	$(BIN)/python -m compileall -q neosocksd_core neosocksd_http1 plugins
	@touch $@

$(VENV)/.tested: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@

$(VENV)/.developed: $(VENV)/.tested
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@
