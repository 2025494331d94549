# Every target sets up what it needs by itself; `make` alone prints this list.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.ready
DATA ?= data
ADDR ?= 127.0.0.1:5000

help: ## Print every target with a line of help
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | awk -F'\t' '{printf "  %-8s %s\n", $$1, $$2}'

setup: $(STAMP) ## Make .venv with all that is pinned, and the program at .venv/bin/cargohold

$(STAMP): pyproject.toml requirements/dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "cargohold needs Python 3.11 or newer; set PYTHON=")'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(STAMP)

run: setup ## Serve on 127.0.0.1:5000 with data in ./data (ADDR= and DATA= change that)
	@$(BIN)/cargohold registry serve --addr $(ADDR) --root $(DATA)

test: setup ## Run the whole test suite, on SQLite and PostgreSQL
	@$(BIN)/pytest -q -n 2 --dist loadgroup tests

check: setup ## Lint, types, layers
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

interop: setup ## Drive us with real clients: docker, podman, skopeo, containerd, crane, oras, helm
	@$(BIN)/python -m interop

bench: setup ## Compare with docker-registry and nginx in one run; prints ratios
	@$(BIN)/python -m bench

soak: setup ## The slow runs: 1,000 kills, a million rows
	@$(BIN)/pytest -q -m soak tests

fmt: setup ## Format the code and mend what the linter can mend
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

clean: ## Remove .venv and caches; your data folder stays
	@rm -rf .venv .tools .pytest_cache .ruff_cache .mypy_cache .hypothesis build dist

.DEFAULT_GOAL := help
.PHONY: help setup run test check interop bench soak fmt clean
