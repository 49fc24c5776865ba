# One entry for people and CI. `make setup` happens by itself before whatever needs it.
PYTHON ?= python3
VENV ?= .venv
EXTRA ?= cpu
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed-$(EXTRA)
# FAISS's OpenMP threads spin while they wait; on small machines that costs more than it saves.
export OMP_WAIT_POLICY ?= passive

# A file stays on one core, as what its tests share is made once; what is timed (`alone`) comes after the others.
ON_ALL_CORES := -n auto --dist loadfile --no-loadscope-reorder
PORT ?= 8000

.PHONY: help setup check test test-fast demo demo-stop demo-train journey serve bench crash soak clean

help:  ## show this
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

setup: $(STAMP)  ## make the virtual environment with the versions that were tested

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(EXTRA),train,dev]'
	touch $@

check: setup  ## format, lint, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: setup  ## every test, on all cores; those on real faces skip where there are none (FACEBRIDGE_SHARED, ../shared)
	$(BIN)/python -m pytest -q $(ON_ALL_CORES) -m 'not alone' && $(BIN)/python -m pytest -q -m alone

test-fast: setup  ## the tests that need no real faces
	$(BIN)/python -m pytest -q $(ON_ALL_CORES) -m 'not real and not alone' && $(BIN)/python -m pytest -q -m 'alone and not real'

demo: setup  ## people who do not exist, real models, a running service; PORT=8000
	$(BIN)/python -m deploy.demo --port $(PORT)

demo-stop:  ## stop the service that the demo left
	$(BIN)/python -m deploy.demo --stop

demo-train: setup  ## build the demo's models again from nothing (an hour and a half on two cores)
	$(BIN)/python -m deploy.demo.build

journey: setup  ## the README's journey on the real faces that this machine has
	$(BIN)/python -m deploy.journey

serve: setup  ## the service on ./run/bundles and ./run/data
	mkdir -p run/bundles
	$(BIN)/facebridge serve --bundles run/bundles --data run/data

bench: setup  ## measure what docs/benchmarks.md claims, and write it there
	$(BIN)/python -m benchmarks

crash: setup  ## kill the galleries 200 times and at every bad place, and fail their disk call by call (half an hour)
	FACEBRIDGE_CRASHES=200 $(BIN)/python -m pytest -q -rP -n auto -m 'not alone' tests/durability

soak: setup  ## 200,000 random operations on two pairs of galleries against plain Python; 29,000 spoilt requests; then an hour of mixed load (two hours)
	FACEBRIDGE_OPERATIONS=100000 $(BIN)/python -m pytest -q -rP -n auto tests/contract -k any_operations
	FACEBRIDGE_FUZZ=10 $(BIN)/python -m pytest -q -rP tests/api/test_fuzz.py
	FACEBRIDGE_SOAK_SECONDS=3600 $(BIN)/python -m pytest -q tests/durability/test_load.py

clean:  ## remove what the targets above made
	-@if [ -x $(BIN)/python ]; then $(BIN)/python -m deploy.demo --stop; fi
	rm -rf $(VENV) run .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
