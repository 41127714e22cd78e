# `make up` starts Lightbox; `make test` runs every test that needs no Docker. Both work on a fresh machine.
PYTHON ?= python3.11
PORT ?= 3000
DASHBOARD_PORT ?= 8501

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# What the bento takes along, whatever LIGHTBOX_MODELS says here.
BENTO_MODELS := $(shell sed -n 's/^  - lightbox-\(.*\):latest$$/\1/p' bentofile.yaml)
REQUIREMENTS := $(wildcard requirements*.txt) constraints.txt pyproject.toml

.DEFAULT_GOAL := help
.PHONY: help setup up test check format docs bento bench bench-gpu

help: ## Show what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(STAMP) ## Make .venv with everything that is pinned

$(STAMP): $(REQUIREMENTS)
	@command -v $(PYTHON) >/dev/null || { echo "make: $(PYTHON) not found; Lightbox needs Python 3.11 (PYTHON=/path/to/it)" >&2; exit 1; }
	@echo "Installing into $(VENV); the first time takes a few minutes."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
		-r requirements.txt -r requirements-dashboard.txt -r requirements-dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

up: setup ## Start service and dashboard, print both addresses, stop both on Ctrl-C
	@exec env LIGHTBOX_PORT=$(PORT) LIGHTBOX_DASHBOARD_PORT=$(DASHBOARD_PORT) $(BIN)/lightbox up

check: setup ## Lint, types and import rules: what CI runs before the tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: setup check ## Run every test that needs no Docker
	tests/install-programs
	$(BIN)/python -m pytest

format: setup ## Let ruff rewrite what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: setup ## Write anew what is made from the code: the README's tables, the rules for Kubernetes
	$(BIN)/python -m docs.tables
	$(BIN)/python -m docs.prometheus_rule

bento: setup ## Build the bento with the models inside
	$(BIN)/lightbox models prepare $(BENTO_MODELS)
	$(BIN)/bentoml build

bench: setup ## Measure Lightbox beside its peers (35 minutes), and write docs/benchmarks.md and the README's figures
	tests/install-programs
	$(BIN)/python -m bench.compare --long
	$(BIN)/python -m docs.tables

bench-gpu: setup ## The same on a CUDA GPU
	$(BIN)/lightbox models prepare efficientnet_lite0
	$(BIN)/python -m bench.gpu --json
