# Everything runs in .venv, which the first call makes. PYTHON chooses the interpreter.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: run test test-terminal check bench screenshots clean
.DEFAULT_GOAL := run

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "hotload needs Python 3.11 or newer; name one: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

run: $(STAMP)            ## open the console on plugins/
	@$(BIN)/hotload

test: $(STAMP)           ## all tests but those that need tmux and editors
	@$(BIN)/pytest -n auto

test-terminal: $(STAMP)  ## the tests that need tmux, vim, a C compiler and the like
	@$(BIN)/pytest -m terminal

$(BIN)/basedpyright: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[check]'

check: $(STAMP) $(BIN)/basedpyright  ## lint, format, types, architecture
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/basedpyright --pythonpath $(BIN)/python
	@$(BIN)/lint-imports

bench: $(STAMP)          ## measure beside the peers; writes benchmarks/RESULTS.md
	@env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m benchmarks

screenshots: $(STAMP)    ## make screenshots/ anew from the running app
	@$(BIN)/python -m screenshots.make

clean:
	rm -rf $(VENV) dist build *.egg-info .mypy_cache .ruff_cache .pytest_cache
