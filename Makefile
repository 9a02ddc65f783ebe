# Everything from a fresh checkout. Needed: Python 3.11 to 3.14 with venv and pip.
#
#   make demo       two models in both phases on three chips: a table, traces and a picture in demo/
#   make test       lint, types, and the tests: compiled, interpreted, and with array bounds checked
#   make benchmark  how fast the simulator is
#   make clean      remove what these made, the environment included

SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
INSTALLED := $(VENV)/installed
WORKERS := 2
# Folders of tests that also run by the interpreter and with array bounds checked, but for those marked otherwise.
REPEATED := tests/uarch tests/kernels tests/workloads
# Machine code of each way to compile is kept apart.
CACHE := $(CURDIR)/build/numba

.PHONY: demo test lint types tests-compiled tests-interpreted tests-bounds-checked benchmark clean
.NOTPARALLEL:
.DELETE_ON_ERROR:

demo: $(INSTALLED)
	$(BIN)/uarch demo -o demo

test: lint types tests-compiled tests-interpreted tests-bounds-checked

lint: $(INSTALLED)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports --no-logo --no-cache

types: $(INSTALLED)
	$(BIN)/mypy

tests-compiled: $(INSTALLED)
	NUMBA_CACHE_DIR=$(CACHE)/compiled $(BIN)/pytest -n $(WORKERS)

tests-interpreted: $(INSTALLED)
	NUMBA_DISABLE_JIT=1 NUMBA_CACHE_DIR=$(CACHE)/interpreted $(BIN)/pytest -n $(WORKERS) $(REPEATED)

tests-bounds-checked: $(INSTALLED)
	NUMBA_BOUNDSCHECK=1 NUMBA_CACHE_DIR=$(CACHE)/bounds-checked $(BIN)/pytest -n $(WORKERS) $(REPEATED)

benchmark: $(INSTALLED)
	NUMBA_CACHE_DIR=$(CACHE)/compiled $(BIN)/pytest tests/benchmarks --benchmark-only

$(INSTALLED): pyproject.toml .ci/constraints.txt
	@python=; \
	for name in python3 python3.14 python3.13 python3.12 python3.11; do \
	  if $$name -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null; then python=$$name; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "error: Python 3.11 to 3.14 is needed on PATH as python3; found: $$(python3 --version 2>&1 || true)" >&2; exit 1; \
	fi; \
	echo "Creating $(VENV) with $$($$python --version)"; \
	$$python -m venv $(VENV) || { echo "error: $$python cannot create environments; install its venv and pip modules" >&2; exit 1; }
	$(PIP) install -c .ci/constraints.txt --upgrade pip setuptools
	PYTHONWARNINGS=ignore $(PIP) install -c .ci/constraints.txt --no-build-isolation -e '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) build demo .mypy_cache .ruff_cache .pytest_cache .hypothesis .benchmarks *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
