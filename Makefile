# Each target can be run by itself and again; `make` lists them.
.DEFAULT_GOAL := help
.PHONY: help venv setup demo test containers lint bench faults locks

bin := .venv/bin
# Processes that run tests, each with servers of its own; 0: one for all.
WORKERS ?= 2
extras := --extra mysql-replication --extra wordllama
compile := uv pip compile --quiet --generate-hashes --no-header --no-emit-index-url --no-annotate $(extras)

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

venv: ## .venv with the locked packages and this project (no root needed; enough for the demo)
	@tools/venv.sh

setup: ## venv, and the servers that tests run on: MariaDB, MySQL 9, Kafka, a schema registry (root, or packages already there)
	@tools/setup.sh

demo: venv ## the connector end to end in one process, without any server
	@$(bin)/vecsync demo

test: setup lint ## set up, lint, and run every test but benchmarks and long fault tests
	$(bin)/pytest --numprocesses=$(WORKERS) --dist=worksteal --ignore=tests/bench --durations=25 --durations-min=5 -m "not long and not containers"
	@$(MAKE) --no-print-directory containers

containers: setup ## main tests on servers in containers, and compose.yaml; brings its own engine where it may
	@tools/engine.sh $(bin)/pytest -m containers tests/containers

lint: venv ## style, types, and the direction of imports
	$(bin)/ruff check .
	$(bin)/ruff format --check .
	$(bin)/mypy
	$(bin)/lint-imports

faults: setup ## every fault test, the long ones too; how long recovery takes
	@tools/binlogs.sh mysql
	$(bin)/pytest tests/faults tests/conformance/test_binlog_saved.py
	@if $(bin)/python -c 'import atheris' 2>/dev/null; then $(bin)/python -m tests.fuzz.binlog --seconds 300; \
	else echo "The decoder is not fuzzed: $(bin)/pip install --require-hashes -r requirements/fuzz.txt"; fi
	$(bin)/python -m tests.system.recovery

bench: setup ## measure; prints the figures
	$(bin)/python -m tests.bench

locks: ## lock the newest packages that pyproject.toml allows (needs uv)
	$(compile) --upgrade pyproject.toml --output-file requirements/runtime.txt
	$(compile) --upgrade --group dev pyproject.toml --output-file requirements/dev.txt
	echo hatchling | $(subst $(extras),,$(compile)) --constraint requirements/dev.txt --output-file requirements/build.txt -
