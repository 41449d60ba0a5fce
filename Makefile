# Everything runs in .venv, which the first call makes. PYTHON chooses the interpreter.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# Python compiles a module at its first import; pip would compile all of them, and most are never imported.
PIP    := install --quiet --disable-pip-version-check --no-compile --editable

# With it, each of the many processes of the tests would compile all modules again, and the tests of bytecode
# caches would test nothing.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run test soak test-terminal coverage check bench screenshots clean
.DEFAULT_GOAL := run

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "hotload needs Python 3.11 or newer; name one: make PYTHON=python3.12")'
	@$(PYTHON) -m venv --without-pip $(VENV)

# Half of the time goes into pip's own installation, so another pip does the work meanwhile, where there is one.
$(VENV)/.runs: pyproject.toml | $(BIN)/python
	@echo "Installing hotload and the packages that it needs into $(VENV): once, for some seconds."
	@$(BIN)/python -m ensurepip --default-pip >$(VENV)/ensurepip.log 2>&1 & pip=$$!; \
	if $(PYTHON) -m pip --python $(BIN)/python --version >/dev/null 2>&1; \
	then $(PYTHON) -m pip --python $(BIN)/python $(PIP) . && wait $$pip; \
	else wait $$pip && $(BIN)/python -m pip $(PIP) .; fi
	@touch $@

$(VENV)/.installed: pyproject.toml | $(VENV)/.runs
	@echo "Installing the packages that the tests need into $(VENV): once, for some seconds."
	@$(BIN)/python -m pip $(PIP) '.[dev]'
	@touch $@

$(VENV)/.checks: pyproject.toml | $(VENV)/.installed
	@echo "Installing the tools that check the code into $(VENV): once, for some seconds."
	@$(BIN)/python -m pip $(PIP) '.[dev,check]'
	@touch $@

run: $(VENV)/.runs                ## open the console on plugins/
	@$(BIN)/hotload

test: $(VENV)/.installed          ## every behaviour, in minutes
	@$(BIN)/pytest -n auto --dist worksteal

soak: export HOTLOAD_RELOADS = 500
soak: export HOTLOAD_PLUGGY_RELOADS = 300
soak: export HOTLOAD_WEB_RELOADS = 50
soak: export HOTLOAD_HOOKS = 10000
soak: export HOTLOAD_MODEL_EXAMPLES = 60
soak: export HOTLOAD_FOLLOW_EXAMPLES = 200
soak: export HOTLOAD_LOOKS = 50
soak: export HOTLOAD_MESSAGES = 10000
soak: export HOTLOAD_WALK_STEPS = 1000
soak: export HOTLOAD_KILL_ROUNDS = 100
soak: export HOTLOAD_ALL_CASES = 1
soak: $(VENV)/.installed          ## the tests that read tests/counts.py, with large counts
	@$(BIN)/pytest -n auto --dist worksteal --timeout 1200 tests/integrations $$(grep -rl 'tests\.counts' tests --include='test_*.py')

test-terminal: $(VENV)/.installed ## the tests that need tmux, vim, a C compiler and the like
	@$(BIN)/pytest -m terminal

coverage: $(VENV)/.installed      ## branches that the tests reach, in subprocesses too
	@$(BIN)/coverage erase
	-@$(BIN)/coverage run -m pytest -n auto --dist worksteal # a tracer changes what some tests see
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report --skip-covered --sort=cover

check: $(VENV)/.checks            ## lint, format, types, architecture
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/basedpyright --pythonpath $(BIN)/python
	@$(BIN)/lint-imports

bench: $(VENV)/.installed         ## measure beside the peers; writes benchmarks/RESULTS.md
	@$(BIN)/python -m benchmarks

screenshots: $(VENV)/.installed   ## draw screenshots/ again from the running app
	@$(BIN)/python -m screenshots.make

screencast: $(VENV)/.installed    ## make the animated picture of the tour of "hotload demo" again
	@$(BIN)/python -m screenshots.cast

clean:
	rm -rf $(VENV) dist build *.egg-info .mypy_cache .ruff_cache .pytest_cache .coverage*
