.DEFAULT_GOAL := help
.PHONY: help setup serve test check lint types format bench

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
# The CPU build of PyTorch is enough. Where pip would fetch a CUDA build, point PIP_EXTRA_INDEX_URL
# at an index of CPU builds first.
TORCH  ?= torch==2.13.0
PIP    := $(BIN)/pip --disable-pip-version-check --quiet install

help:                           ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(VENV)/.dev             ## everything for development, into $(VENV)

serve: $(VENV)/.serve           ## serve images on 127.0.0.1:8000 (DIMR_PORT)
	@$(BIN)/dimr-serve

# One thread a worker: two of them with a pool each fight for the cores and can stall for minutes.
test: $(VENV)/.dev              ## all tests that need no GPU
	@OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadgroup -m 'not gpu'

check: lint types test          ## what CI runs

lint: $(VENV)/.dev              ## format, style and import contracts
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/lint-imports

types: $(VENV)/.dev             ## mypy --strict
	@$(BIN)/mypy

format: $(VENV)/.dev            ## rewrite to the house format
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: $(VENV)/.dev             ## measure; prints a table, writes JSON below tests/benchmarks/results
	@$(BIN)/python -m tests.benchmarks

$(BIN)/pip:
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and f"dimr-serve needs Python 3.11 or later; {sys.executable} is {v[0]}.{v[1]} (make PYTHON=...)")'
	@echo "setting up $(VENV) (once, some minutes)"
	@$(PYTHON) -m venv $(VENV)

# PyTorch first and alone: resolved together with the rest, pip may prefer a much larger build.
$(VENV)/.serve: pyproject.toml constraints.txt | $(BIN)/pip
	@$(PIP) '$(TORCH)'
	@$(PIP) -c constraints.txt -e '.[serve]'
	@touch $@

$(VENV)/.dev: $(VENV)/.serve
	@$(PIP) -c constraints.txt -e '.[dev]'
	@$(PIP) -c constraints.txt --no-deps torch-fidelity
	@touch $@
