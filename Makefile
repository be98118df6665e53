# make run     makes .venv, installs, and performs the whole guide on the sandbox
# make test    all tests; make check  the linters; make bench  the ratios; make notebooks  executes the committed notebooks anew

# The newest Python of those the project supports, unless PYTHON says which.
PYTHON ?= $(shell for python in python3.13 python3.12 python3.11 python3; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$python; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: run test check bench notebooks documents schema constraints clean

run: $(VENV)/.installed
	$(BIN)/cgrunbook run

test: $(VENV)/.installed-for-tests
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile $(PYTEST_ARGUMENTS)

check: $(VENV)/.installed-for-development
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.installed-for-tests
	$(BIN)/python -m tests.benchmarks

notebooks: $(VENV)/.installed-for-tests
	$(BIN)/python -m tests.notebooks.execute

documents: $(VENV)/.installed-for-tests
	$(BIN)/python -m tests.documents

# Google's definitions for the sandbox, from its API client for Python: one package with the discovery documents of all services and
# versions, routes, parameters and messages in full. Pinned, so that two runs write the same; needed for nothing else, so not installed.
DISCOVERY := google-api-python-client==2.202.0
schema: $(VENV)/.installed-for-tests
	folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && \
		$(INSTALL) --no-deps --target "$$folder" $(DISCOVERY) && $(BIN)/python -m tests.schema "$$folder"

# What is tested is what is installed: every version, for every Python and platform that the project supports.
constraints:
	uv pip compile pyproject.toml --extra dev --extra test --universal --python-version 3.11 --upgrade \
		--no-header --no-annotate --no-emit-index-url --output-file constraints.txt

clean:
	rm -rf $(VENV) runs

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "cgrunbook needs Python 3.11 or newer: none of python3.13, python3.12, python3.11, python3 is one." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(VENV)/bin/python pyproject.toml constraints.txt
	$(INSTALL) --editable .
	@touch $@

$(VENV)/.installed-for-tests: $(VENV)/.installed
	$(INSTALL) --editable '.[test]'
	@touch $@

$(VENV)/.installed-for-development: $(VENV)/.installed
	$(INSTALL) --editable '.[dev]'
	@touch $@
