# Everything runs in a virtual environment of its own; `make help` lists what there is.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Where the real data sets are, if they are: tests on them are skipped without it.
export SEMFED_DATA ?=

.DEFAULT_GOAL := help
.PHONY: help install run test long containers docs notebook lint versions slow reproduce expected bench clean

help: ## Show this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 18

install: $(STAMP) ## Create .venv and install semfed in it

$(STAMP): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "semfed needs Python 3.11 or newer: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e '.[dev]'
	@touch $@

run: $(STAMP) ## Run the embedded scenario in Flower's simulation and show the result
	$(BIN)/semfed run digits --engine flower

test: $(STAMP) ## Run the tests (those on real data need SEMFED_DATA)
	$(BIN)/pytest -m "not slow and not long and not containers" -n 2 --dist loadfile

long: $(STAMP) ## Run the proofs of minutes: equal numbers and faults on all engines, kills, deployment in network namespaces
	$(BIN)/pytest -m "long and not slow" -n 2 --dist loadfile

containers: $(STAMP) ## Run the deployment in a real container engine, which it brings along (root, Debian, 8 GB)
	$(BIN)/pytest -m containers --durations=0

lint: $(STAMP) ## Check style and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

docs: $(STAMP) ## Build the documentation into build/site, without a network
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

notebook: $(STAMP) ## Write the tutorial's notebook anew, executed (docs/tutorial.ipynb)
	$(BIN)/python docs/as_notebook.py

versions: $(STAMP) ## Try the lowest, the exact and the latest versions, on Python 3.11 to 3.13 (with LEGS=... some of them)
	$(BIN)/python benchmarks/versions.py $(LEGS)

slow: $(STAMP) ## Run the long reproductions on real data (needs SEMFED_DATA)
	$(BIN)/pytest -m slow

reproduce: $(STAMP) ## Make a result again: RESULT=scenarios/NAME/results/FILE.json; with CHECK=1 only say what differs
	$(if $(RESULT),,$(error RESULT is unset: make reproduce RESULT=scenarios/NAME/results/FILE.json))
	$(BIN)/python benchmarks/reproduce.py $(if $(CHECK),--check) $(RESULT)

expected: $(STAMP) ## Write the short results that tests compare bit for bit anew (needs SEMFED_DATA)
	REGENERATE=1 $(BIN)/pytest -m "" tests/scenarios/test_short_results.py

bench: $(STAMP) ## Reproduce the committed results, measure the engines and trials side by side (needs SEMFED_DATA)
	$(BIN)/python benchmarks/reproduce.py --all
	$(BIN)/python benchmarks/jobs.py
	$(MAKE) -C benchmarks/engines bench PYTHON=$(abspath $(BIN))/python

clean: ## Remove the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis build *.egg-info
