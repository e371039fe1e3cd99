# Shortcuts for development. They use the virtual environment in .venv (see CONTRIBUTING.md).

BIN := .venv/bin
JOBS ?= 3
PYTEST := $(BIN)/pytest -q -n $(JOBS) --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help check test test-all docs openapi generate bench chaos clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

check: ## Lint, check formatting, types and layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: ## Run the fast tests: unit and store
	$(PYTEST) tests/unit tests/store

test-all: ## Run all tests
	$(PYTEST)

docs: ## Build the documentation as a site in build/site
	$(BIN)/zensical build --clean --strict

openapi: ## Write clients/openapi.json, and what is generated from it
	$(BIN)/chatd openapi > clients/openapi.json.new && mv clients/openapi.json.new clients/openapi.json
	$(BIN)/python clients/generate_python.py
	cd clients/typescript && npm run generate
	$(BIN)/python -m docs.generate

generate: ## Write config.example.toml and the tables of the documentation
	$(BIN)/python -m docs.generate
	cd clients/typescript && npm run console

bench: ## Measure what this machine can do, in under 40 s
	$(BIN)/python -m benchmarks --quick

chaos: ## Run under faults: make chaos MINUTES=60 SEED=7 RATE=240 (faults per minute)
	cd tests && ../$(BIN)/python -m chaos --minutes $(or $(MINUTES),5) --per-minute $(or $(RATE),240) $(if $(SEED),--seed $(SEED))

clean: ## Remove what builds and tests leave behind
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
