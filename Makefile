# `make demo` and `make test` need only python3 >= 3.11 and make: the virtual environment is a file target.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
# Four processes for two cores: whole runs mostly wait. Neighbours share what their module sets up.
PYTEST := $(BIN)/python -m pytest --numprocesses=4 --dist=worksteal
READY  := $(VENV)/.ready

.PHONY: demo test test-long test-services check format bench prices picture commands clean
.DEFAULT_GOAL := test

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "claude-batch needs Python 3.11 or newer; set PYTHON=")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	PYTHONWARNINGS='ignore:Editable installation' $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable . --group dev
	touch $@

demo: $(READY)              ## sixty prompts against the sandbox; the answers through jq
	@BIN=$(BIN) sh samples/demo.sh

test: $(READY)              ## what every commit has to pass, in minutes
	$(PYTEST)

test-long: $(READY)         ## more kills, every crash point, more scenarios, more examples
	$(PYTEST) -m "(long or hypothesis) and not services" --hypothesis-profile=long

test-services: $(READY)     ## what needs servers that others have written: redis-server, llmock, moto, prometheus
	$(PYTEST) -m services -rs

check: $(READY)             ## format, lint, import contracts, types, tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(PYTEST)

format: $(READY)            ## put the code into its standard form
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(READY)             ## the numbers of docs/benchmarks.md, measured on this machine
	$(BIN)/python -m tests.bench --write

prices: $(READY)            ## our prices against genai-prices and litellm, where installed
	$(BIN)/python -m tests.support.compare_prices

picture: $(READY)           ## the pictures in the README and the guide, from a real run
	$(BIN)/python docs/picture.py

commands: $(READY)          ## the help of every command, into docs/commands.md
	$(BIN)/python -m tests.support.command_help

clean:                      ## forget the virtual environment and every cache
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
