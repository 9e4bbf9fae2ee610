# `make run` and `make test` are all that a newcomer needs; they need Python 3.11+ and make.

# The first interpreter that is new enough; `make PYTHON=/path/to/python` overrules.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
CONFIG ?= conf/demo.yaml
PURE := tests/unit tests/transcripts tests/properties tests/fuzz
PACKAGING := setup.cfg setup.py pyproject.toml

.PHONY: run test check bench docs clean

# exec: nothing stands between the terminal's Ctrl-C and the host.
run: $(VENV)/.installed
	@exec $(BIN)/supervisor-tree run $(CONFIG)

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest $(PYTEST_ARGS)

check: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/coverage run -m pytest -q $(PURE)
	$(BIN)/coverage report

bench: $(VENV)/.installed-bench .venv-bench/.installed benchmarks/node_modules/.installed
	$(BIN)/python -m benchmarks $(BENCH_ARGS)

docs: $(VENV)/.installed-dev
	$(BIN)/python docs/generate.py

clean:
	rm -rf $(VENV) .venv-bench benchmarks/node_modules build *.egg-info .coverage .coverage.* \
		.mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "cannot make $(VENV): Python 3.11 or newer not found" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "cannot make $(VENV): install the venv module (Debian: python3-venv)" >&2; exit 1; }

$(VENV)/.installed: $(PACKAGING) | $(VENV)/bin/python
	$(PIP) install --config-settings editable_mode=compat --editable .
	@touch $@

$(VENV)/.installed-dev: $(PACKAGING) | $(VENV)/bin/python
	$(PIP) install --config-settings editable_mode=compat --editable '.[dev]'
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-bench: $(PACKAGING) | $(VENV)/bin/python
	$(PIP) install --config-settings editable_mode=compat --editable '.[dev,bench]'
	@touch $@ $(VENV)/.installed $(VENV)/.installed-dev

# Peers to measure against; one that cannot be had is left out of the measurement.
.venv-bench/.installed: benchmarks/requirements.txt | $(VENV)/bin/python
	@$(PYTHON) -m venv .venv-bench && echo '*' >.venv-bench/.gitignore
	-.venv-bench/bin/python -m pip --disable-pip-version-check --quiet install -r $<
	@touch $@

benchmarks/node_modules/.installed: benchmarks/package.json
	@mkdir -p $(@D)
	-npm install --silent --no-audit --no-fund --prefix benchmarks
	@touch $@
