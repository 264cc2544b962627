# make demo | test | quick | check | bench | soak: each makes .venv where it is missing, and installs into it.
.DEFAULT_GOAL := help
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help demo test quick check bench soak format clean
help:  ## Show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 16

# Python 3.11 to 3.13; the first that runs. PYTHON=... chooses another.
$(READY): pyproject.toml constraints.txt
	@python=$${PYTHON:-$$(for p in python3 python3.13 python3.12 python3.11; do \
	    $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $$p && break; done)}; \
	  test -n "$$python" || { echo "Perdure needs Python 3.11, 3.12 or 3.13; none was found. Install one, or: make PYTHON=/path/to/python3" >&2; exit 1; }; \
	  test -x $(BIN)/python || { echo "Making $(VENV) with $$($$python --version) …"; $$python -m venv $(VENV); }
	@echo "Installing (torch and its friends are 6.5 GB; three minutes on a fast line) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $(READY)

demo: $(READY)  ## Learn twenty years of weather in demo/, refuse bad data, roll back
	@$(BIN)/perdure demo

# Three at a time, also on two cores: a test of a server waits for it more than it computes.
test: $(READY)  ## Run the tests
	@$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

# The inner loop: what learns, what it stands on, and the words of the command line.
quick: $(READY)  ## Run the tests that take no server, in four minutes
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not service and not slow" \
	    tests/cli tests/contracts tests/strategies tests/tasks tests/test_*.py

check: $(READY)  ## Format and lint (ruff), types (mypy), directions (import-linter)
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: $(READY)  ## Print the benchmark tables
	@$(BIN)/python -m benchmarks

soak: $(READY)  ## Kill everything at random, fill the disk, shift the clock; an hour
	@$(BIN)/python -m tests.soak
	@$(BIN)/python -m tests.soak.outages all
	@$(BIN)/python -m tests.soak.crowd --registry sqlite
	@$(BIN)/python -m tests.soak.crowd --registry server

format: $(READY)  ## Format and mend what ruff can mend
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

clean:  ## Remove the demo's workspace and caches; .venv stays
	rm -rf demo .pytest_cache .mypy_cache .ruff_cache .hypothesis build src/*.egg-info
