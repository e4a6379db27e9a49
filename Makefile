# One command runs the main job, one passes the tests. Both make their own environment.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# Two workers share the tests: threads of BLAS and OpenMP beside them would wait for each other.
export OMP_NUM_THREADS := 1
export OPENBLAS_NUM_THREADS := 1

.PHONY: demo test test-all lint check clean

demo: $(STAMP)
	$(BIN)/headway frontier llama-3.1-70b --on h100,h200,mi300x \
		--json out/frontier.json --html out/frontier.html --png out/frontier.png

test: $(STAMP)
	$(BIN)/python -m pytest -n 2 -m "not slow"

test-all: $(STAMP)
	$(BIN)/python -m pytest -n 2

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint test

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Headway needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable ".[dev]" --constraint constraints.txt
	# xds-protos (Envoy) overwrites a file of opentelemetry-proto with an older one; the newer serves both.
	$(BIN)/python -m pip install --quiet --force-reinstall --no-deps opentelemetry-proto --constraint constraints.txt
	mkdir -p out
	touch $@

clean:
	rm -rf $(VENV) out .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
