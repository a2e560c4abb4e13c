# All that is needed is Python 3.11 or newer and a way to PyPI: each target installs what it runs into .venv, once.

PYTHON ?= $(shell for p in python3.11 python3 python3.12 python3.13 python3.14; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$p" && break; done)
BIN := .venv/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check

.PHONY: demo demo-federated test test-quick test-slow check bench crash constraints

demo: .venv/demo.installed
	@$(BIN)/consentric demo

# Three partners who never show each other a row, over TLS on this machine.
demo-federated: .venv/federated.installed
	@$(BIN)/consentric demo --federated

test: test-quick test-slow

# Both side by side, a file at a time.
test-quick: .venv/dev.installed
	$(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile

test-slow: .venv/dev.installed
	$(BIN)/python -m pytest -m slow -n 2 --dist loadfile

check: .venv/dev.installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/bench.installed
	$(BIN)/python -m tests.benchmarks.run

crash: .venv/dev.installed
	CRASHES=1000 $(BIN)/python -m pytest tests/crash

constraints: .venv/bin/python
	$(PIP) install uv
	@(grep '^#' constraints.txt; $(BIN)/uv pip compile pyproject.toml --quiet --no-header --no-annotate --upgrade \
		--all-extras --universal --fork-strategy fewest --prerelease disallow --python-version 3.11) > .venv/constraints.txt
	mv .venv/constraints.txt constraints.txt

.venv/bin/python:
	@test -n "$(PYTHON)" || (echo "no Python 3.11 or newer was found; name one with make PYTHON=..." >&2; exit 1)
	@$(PYTHON) -m venv .venv

.venv/demo.installed: .venv/bin/python pyproject.toml constraints.txt
	@echo "installing into .venv (once; it takes a minute or two)"
	@$(PIP) install -c constraints.txt -e '.[demo]'
	@touch $@

.venv/federated.installed: .venv/bin/python pyproject.toml constraints.txt
	@echo "installing into .venv with what partners' messages need (once; it takes a minute or two)"
	@$(PIP) install -c constraints.txt -e '.[demo,federated]'
	@touch .venv/demo.installed $@

.venv/dev.installed: .venv/bin/python pyproject.toml constraints.txt
	@echo "installing into .venv with what tests need (once; it takes a minute or two)"
	@$(PIP) install -c constraints.txt -e '.[demo,deep,dev,federated,postgres]'
	@touch .venv/demo.installed .venv/federated.installed $@

.venv/bench.installed: .venv/bin/python pyproject.toml constraints.txt
	@echo "installing into .venv with what benchmarks compare with (once; it takes a minute or two)"
	@$(PIP) install -c constraints.txt -e '.[bench,demo,deep,dev,federated,postgres]'
	@touch .venv/demo.installed .venv/federated.installed .venv/dev.installed $@
