# Short names for the common commands. Each makes .venv by itself where it is missing or out of date.
PYTHON ?= python3
BIN := .venv/bin
CONFIG ?= configs/run.yaml
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup run optimize check list test test-slow test-lowest upgrade reference lint types format bench ci clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: .venv/installed ## make .venv with all that running, testing and developing need

.venv/installed: requirements.txt requirements-dev.txt constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -r requirements-dev.txt
	@touch $@

run: setup ## run one experiment: make run CONFIG=configs/digits.yaml ARGS="--set epochs=3"
	$(BIN)/python main.py --run $(CONFIG) $(ARGS)

optimize: setup ## run a study: make optimize CONFIG=configs/opt_digits.yaml
	$(BIN)/python main.py --optimize $(CONFIG) $(ARGS)

check: setup ## one batch of CONFIG through the real path, in seconds
	$(BIN)/python main.py --check $(CONFIG) $(ARGS)

list: setup ## the runs so far
	$(BIN)/python main.py --list $(ARGS)

test: setup ## the tests, without the slow ones
	$(BIN)/python -m pytest -n auto -m "not slow" $(ARGS)

test-slow: setup ## the long proofs only
	$(BIN)/python -m pytest -m slow $(ARGS) || test $$? -eq 5  # 5: there are none

test-lowest: ## the tests with the lowest versions that the requirements allow, in .venv-lowest (7 GB)
	ARGS="$(ARGS)" $(PYTHON) -m environments.lowest

upgrade: ## the newest versions into constraints.txt, if the tests pass with them, in .venv-upgrade (7 GB)
	ARGS="$(ARGS)" $(PYTHON) -m environments.upgrade

reference: ## every figure beside that of other libraries, in .venv-reference (7 GB)
	$(PYTHON) -m environments.reference $(ARGS)

lint: setup ## ruff: mistakes and layout, without changing a file
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup ## mypy, strict
	$(BIN)/mypy

format: setup ## ruff: fix and format the files
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup ## time of a step beside a bare loop
	$(BIN)/python -m benchmarks.loop $(ARGS)

ci: ## everything, from a clean checkout in a fresh environment (20 minutes or more)
	.ci/run

clean: ## remove caches and test environments; runs and .venv stay
	rm -rf .venv-lowest .venv-upgrade .venv-reference .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.venv/*' -prune -exec rm -rf {} +
