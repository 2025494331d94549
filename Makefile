# Every target sets up what it needs by itself; `make` alone prints this list.
# Needs: make, and Python 3.11 or newer (PYTHON= names one that is not on PATH). No root, no compiler.
BIN = .venv/bin
STAMP = .venv/.ready
PYTHON =
DATA = data
ADDR = 127.0.0.1:5000

help: ## Print every target with a line of help
	@awk -F': .*## |## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

setup: $(STAMP) ## Make .venv with all that is pinned; the program is .venv/bin/cargohold
	@test -x $(BIN)/cargohold

$(STAMP): pyproject.toml requirements/dev.txt
	@set -e; if ! $(BIN)/python -c '' 2>/dev/null; then \
	  for python in "$(PYTHON)" python3 python3.14 python3.13 python3.12 python3.11 python; do \
	    "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break; python=; \
	  done; \
	  test -n "$$python" || { echo "cargohold needs Python 3.11 or newer; name it: make PYTHON=/path/to/python3" >&2; exit 1; }; \
	  echo "Making .venv with $$("$$python" --version); this takes a minute, once."; \
	  "$$python" -m venv --clear .venv 2>/dev/null || { \
	    "$$python" -m venv --clear --without-pip .venv && "$$python" -m pip --python $(BIN)/python install --quiet pip; \
	  } || { echo "this Python cannot make a virtual environment; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }; \
	fi
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --only-binary :all: --require-hashes -r requirements/dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(STAMP)

run: setup ## Serve on 127.0.0.1:5000 with data in ./data (make run ADDR=... DATA=... changes that)
	@mkdir -p "$(DATA)" && echo "Data folder: $$(cd "$(DATA)" && pwd)"
	@exec $(BIN)/cargohold registry serve --addr "$(ADDR)" --root "$(DATA)"

test: setup ## Run the tests (SQLite, PostgreSQL and S3 come from wheels)
	@$(BIN)/python -m pytest -q -n 2 --dist loadgroup tests

check: setup ## Lint, format, types, layers
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

interop: setup ## Drive us with the real docker, podman, skopeo, containerd, crane, oras, helm
	@$(BIN)/python -m interop

bench: setup ## Compare us with docker-registry and nginx in one run; prints ratios
	@$(BIN)/python -m bench

soak: setup ## The slow runs: 1,000 kills, a 4 GiB layer, a million rows
	@$(BIN)/python -m pytest -q -m soak --timeout=10800 tests

fmt: setup ## Format the code, mend what the linter can mend, write the reference pages
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .
	@$(BIN)/python -m cargohold.cli.reference docs/reference

clean: ## Remove .venv and all caches; data folders stay
	@rm -rf .venv .tools .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .hypothesis build dist
	@find src tests bench interop -name __pycache__ -prune -exec rm -rf {} +

.PHONY: help setup run test check interop bench soak fmt clean
