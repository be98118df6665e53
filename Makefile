# make run     makes .venv, installs, and performs the whole guide on the sandbox
# make test    every behaviour, in minutes; make test-long  what is long by nature: every kill, every round, every command by hand; make test-all  both
# make every-call  every call of 02, 03, 05 and 06 disturbed in every way, and the counts; make test takes a few of them
# make test-pythons  the core of the tests on each supported Python that is there, with the oldest and the newest dependencies
# make check   the linters; make bench  the ratios; make notebooks  executes the committed notebooks anew

# The Pythons that the project supports, the newest first: the first that the machine has makes .venv, unless PYTHON names another.
PYTHON ?= python3.13 python3.12 python3.11 python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

# Installs into .venv and stamps it. While .unfinished is there nobody knows what is: pip takes a package that it was stopped in for whole.
define install
	@touch $(VENV)/.unfinished
	$(INSTALL) --editable '$(1)'
	@rm $(VENV)/.unfinished && touch $@
endef

.PHONY: run test test-long test-all test-pythons every-call check bench notebooks documents faults schema constraints clean

run: $(VENV)/.installed
	$(BIN)/cgrunbook run

# Some thousand processes would compile what they import where they may not keep it.
test test-long test-all test-pythons every-call: export PYTHONDONTWRITEBYTECODE :=

# The share of what is long by nature that is run too, others with each run: 1 is all.
LONG ?= 0.1
LONG_IN_BROWSER ?= 0

# More workers than CI has cores, since tests also wait; one that is out of work takes tests from another, also of the same file. Beside them
# one browser: several make each other late. The target THEN follows the browser, and does not wait for the rest.
define tested
	@{ $(BIN)/python -m pytest tests/browser --share-of-long $(LONG_IN_BROWSER) $(PYTEST_ARGUMENTS)$(if $(THEN), && $(MAKE) $(THEN)); } & browser=$$!; \
	$(BIN)/python -m pytest --ignore tests/browser --numprocesses 3 --dist worksteal --share-of-long $(LONG) $(PYTEST_ARGUMENTS); rest=$$?; \
	wait $$browser && exit $$rest
endef

test: $(VENV)/.installed-for-tests
	$(tested)

test-all: LONG = 1
test-all: LONG_IN_BROWSER = 1
test-all: $(VENV)/.installed-for-tests
	$(tested)

test-long: $(VENV)/.installed-for-tests
	@$(MAKE) test-all PYTEST_ARGUMENTS='-m long $(PYTEST_ARGUMENTS)'

# Some thousand journeys; JOURNEYS='05 06' takes those alone.
every-call: $(VENV)/.installed-for-tests
	$(BIN)/python -m tests.steps.every_call $(JOURNEYS)

test-pythons: $(VENV)/.installed-for-development
	$(BIN)/python -m tests.pythons

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

# Some minutes: what docker, gcloud and the doctor say of every fault goes into docs/diagnosis.md; then the doctor is asked of all pairs of faults,
# and what it misses is printed. ASK=table or ASK=pairs does one of the two.
faults: $(VENV)/.installed-for-tests
	$(BIN)/python -m tests.diagnosis.joint $(ASK)

# Google's definitions for the sandbox, from its API client for Python: one package with the discovery documents of all services and
# versions, routes, parameters and messages in full. Pinned, so that two runs write the same; needed for nothing else, so not installed.
DISCOVERY := google-api-python-client==2.202.0
schema: $(VENV)/.installed-for-tests
	folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && \
		$(INSTALL) --no-deps --target "$$folder" $(DISCOVERY) && $(BIN)/python -m tests.schema "$$folder"

# What is tested is what is installed: every version, for every Python and platform that the project supports.
constraints: $(VENV)/.installed-for-development
	$(BIN)/uv pip compile pyproject.toml --extra dev --extra test --universal --python-version 3.11 --upgrade \
		--no-header --no-annotate --no-emit-index-url --output-file constraints.txt

clean:
	rm -rf $(VENV) runs

# .made says where .venv was made: its commands name that folder. One that was moved with its checkout, that an interrupt left half made or half
# installed, or whose Python is gone, is made anew; one that is whole keeps the date of .made, and nothing is installed again.
$(VENV)/.made: FORCE
	@if test "$$(cat $@ 2>/dev/null)" = "$$(pwd -P)" && test ! -e $(VENV)/.unfinished && $(BIN)/python -c 'import pip' 2>/dev/null; then exit 0; fi; \
	for python in $(PYTHON) none; do \
		$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break; \
	done; \
	test $$python != none || { echo "cgrunbook needs Python 3.11 or newer; none of these is one: $(PYTHON)." >&2; exit 1; }; \
	test ! -e $(VENV) || echo "$(VENV) was not made here, or not to its end; it is made anew." >&2; \
	rm -rf $(VENV); \
	$$python -m venv $(VENV) || { rm -rf $(VENV); \
		echo "$$python has no whole venv module. On Debian and Ubuntu it is a package of its own: apt install python3-venv" >&2; exit 1; }; \
	pwd -P > $@

FORCE:

$(VENV)/.installed: $(VENV)/.made pyproject.toml constraints.txt
	$(call install,.[lab])

$(VENV)/.installed-for-tests: $(VENV)/.installed
	$(call install,.[test])

$(VENV)/.installed-for-development: $(VENV)/.installed
	$(call install,.[dev])
