# Everything from a fresh checkout. Needed: Python 3.11 to 3.14 with venv and pip.
#
#   make demo       two models in both phases on three chips: a table, traces and a picture in demo/
#   make test       lint, types, and the tests: compiled, interpreted, and with array bounds checked
#   make fuzz       random chips, kernels and arguments: N of each from SEED
#   make benchmark  how fast the simulator is
#   make clean      remove what these made, the environment included

SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
INSTALLED := $(VENV)/installed
# Processes of a pass of tests: as many as there are cores, or a number.
WORKERS := auto
# Folders where most of what runs is jitted: their tests also run by the interpreter and with array bounds checked.
REPEATED := tests/uarch/engine tests/uarch/dram tests/uarch/systolic tests/uarch/test_jit.py tests/uarch/test_wake_tree.py tests/kernels/masks
# Folders whose tests are done in seconds, and show most mistakes.
QUICK := $(addprefix tests/uarch/,chip engine energy files power program silicon) tests/kernels/masks tests/kernels/program
QUICK += tests/results/analysis tests/results/trace tests/workloads/models tests/workloads/settings tests/test_same_names.py
# LLVM's optimisation of jitted code: 1 compiles in two thirds of the time of 3, the engine is as fast and its results are the same.
OPT := 1
# Machine code of each way to compile is kept apart.
CACHE := $(CURDIR)/build/numba
COMPILED := NUMBA_OPT=$(OPT) NUMBA_CACHE_DIR=$(CACHE)/compiled
CHECKED := NUMBA_OPT=$(OPT) NUMBA_BOUNDSCHECK=1 NUMBA_CACHE_DIR=$(CACHE)/bounds-checked
INTERPRETED := NUMBA_OPT=$(OPT) NUMBA_DISABLE_JIT=1 NUMBA_CACHE_DIR=$(CACHE)/interpreted
# Where several targets are made at once, what each says comes in one piece.
TOGETHER := $(MAKE) -j 2 $(if $(filter output-sync,$(.FEATURES)),--output-sync=target)

.PHONY: demo fuzz test test-quick lint types compiled bounds-checked tests-compiled tests-interpreted tests-bounds-checked benchmark clean
.DELETE_ON_ERROR:

demo: $(INSTALLED)
	$(BIN)/uarch demo -o demo

test: $(INSTALLED)
	$(TOGETHER) lint types compiled bounds-checked
	$(MAKE) tests-compiled
	$(TOGETHER) tests-interpreted tests-bounds-checked

test-quick: lint
	$(COMPILED) $(BIN)/pytest -n $(WORKERS) $(QUICK)

lint: $(INSTALLED)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports --no-logo --no-cache

types: $(INSTALLED)
	$(BIN)/mypy

# The kernels that most tests call, before several processes would each compile them.
compiled: $(INSTALLED)
	$(COMPILED) $(BIN)/python -m tests.support.compile_kernels

bounds-checked: $(INSTALLED)
	$(CHECKED) $(BIN)/python -m tests.support.compile_kernels

tests-compiled: compiled
	$(COMPILED) $(BIN)/pytest -n $(WORKERS)

tests-interpreted: $(INSTALLED)
	$(INTERPRETED) $(BIN)/pytest $(REPEATED)

tests-bounds-checked: bounds-checked
	$(CHECKED) $(BIN)/pytest $(REPEATED)

N := 1000
SEED := $(shell date +%s)
fuzz: compiled
	@echo "SEED=$(SEED)"
	FUZZ_CASES=$(N) FUZZ_SEED=$(SEED) $(COMPILED) $(BIN)/pytest -n $(WORKERS) tests/robustness

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
