# `make up` starts Lightbox; `make test` runs every test that needs no Docker. Both work on a fresh machine.
# PYTHON=/path/to/python3.12 names the Python that .venv is made with; without it, it is the newest suitable one.
export PYTHON
# What `make setup EXTRAS="torch onnxruntime"` adds to .venv. What a target below needs, it adds itself.
EXTRAS ?=
PORT ?= 3000
DASHBOARD_PORT ?= 8501

BIN := .venv/bin
# Always into .venv: VENV may be a variable of the user's for something else.
INSTALL := VENV= install/setup
VERSION := $(shell sed -n 's/^__version__ = "\(.*\)"$$/\1/p' bento_service/__init__.py)
# The commit that images are labelled with; the tests of containers look for the one that was made.
REVISION ?= $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
REVISION := $(REVISION)
# Debian's Docker comes without the plug-in that builds by default elsewhere.
ifeq ($(DOCKER_BUILDKIT),)
export DOCKER_BUILDKIT := $(shell docker buildx version >/dev/null 2>&1 && echo 1 || echo 0)
endif
# A registry, and what goes before the images' names there: `make push REGISTRY=registry.example.org/team`.
REGISTRY ?=
# What the bento takes along, whatever LIGHTBOX_MODELS says here. `make image MODELS="pets efficientnet_lite0"` takes
# these in their place, imported ones among them; the image then serves them.
BENTO_MODELS := $(shell sed -n 's/^  - lightbox-\(.*\):latest$$/\1/p' bentofile.yaml)
MODELS :=
# Many, short and independent of one another: they run on every CPU. Those with databases of their own, and those that
# compute for long, run two at a time; the others, which load every CPU and measure time, one after the other.
QUICK_TESTS := tests/unit tests/property tests/http tests/dashboard
PAIRED_TESTS := tests/contract tests/monitoring tests/parity
# Targets that take what tests and checks need.
DEVELOPED := check test test-pythons test-arm test-containers test-containers-gpu format docs board bench bench-gpu \
	bench-containers

.DEFAULT_GOAL := help
.PHONY: help setup up lock check test test-pythons test-arm test-containers test-containers-gpu format docs board bento \
	bento-gpu image image-gpu image-dashboard images push push-gpu bench bench-gpu bench-containers

help: ## Show what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-22s%s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Make .venv with what `make up` needs; EXTRAS="torch onnxruntime" adds to it
	@$(INSTALL) $(EXTRAS)

$(DEVELOPED): override EXTRAS += dev torch onnxruntime
bento-gpu: override EXTRAS += torch

up: setup ## Start service and dashboard, print both addresses, stop both on Ctrl-C
	@exec env LIGHTBOX_PORT=$(PORT) LIGHTBOX_DASHBOARD_PORT=$(DASHBOARD_PORT) $(BIN)/lightbox up

lock: ## Write requirements.lock anew from the requirement files; UPGRADE=--upgrade takes newer versions of the rest
	@install/lock $(UPGRADE)

check: setup ## Lint, types and import rules: what CI runs before the tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --platform darwin --cache-dir .mypy_cache/darwin bento_service lightbox_client dashboard
	$(BIN)/lint-imports

test: setup check ## Run every test that needs no Docker
	tests/install-programs
	$(BIN)/python -m pytest -n auto --dist loadfile $(QUICK_TESTS)
	$(BIN)/python -m pytest -n 2 --dist loadfile $(PAIRED_TESTS)
	$(BIN)/python -m pytest --ignore tests/containers --ignore tests/arm $(QUICK_TESTS:%=--ignore %) $(PAIRED_TESTS:%=--ignore %)

test-arm: setup ## Classify one image on emulated ARM; as root on Debian with debootstrap and qemu-user-static
	tests/arm-root
	$(BIN)/python -m pytest tests/arm

test-pythons: setup ## Run the fast tests on the oldest and the newest Python at hand besides that of .venv
	tests/on-pythons $(QUICK_TESTS)

test-containers: export BENTOML_HOME := $(CURDIR)/.cache/test-bentoml
test-containers: export REVISION := $(REVISION)
test-containers: setup ## Build both images and test them on a Docker engine
	tests/install-programs
	tests/containers/engine
	$(MAKE) images
	$(BIN)/python -m pytest tests/containers -m "not gpu_image"

test-containers-gpu: export BENTOML_HOME := $(CURDIR)/.cache/test-bentoml
test-containers-gpu: export REVISION := $(REVISION)
test-containers-gpu: setup ## The same for the GPU image, on its GPU if there is one
	tests/containers/engine
	$(MAKE) image-gpu
	$(BIN)/python -m pytest tests/containers -m gpu_image

format: setup ## Let ruff rewrite what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: setup ## Write anew what is made from the code: README's, benchmarks' and operator's tables, Kubernetes' rules
	$(BIN)/python -m docs.tables
	$(BIN)/python -m docs.sizing
	$(BIN)/python -m docs.prometheus_rule

board: setup ## Write Grafana's board anew from its module
	$(BIN)/python -m deploy.grafana.board

bento: setup ## Build the bento with the models inside; MODELS="pets efficientnet_lite0" takes these
ifeq ($(strip $(MODELS)),)
	$(BIN)/lightbox models prepare $(BENTO_MODELS)
	$(BIN)/bentoml build
else
	$(BIN)/python -m deploy.bento $(MODELS)
	$(BIN)/bentoml build -f .cache/bentofile.yaml
endif

bento-gpu: setup ## The same with PyTorch for CUDA
	$(BIN)/lightbox models prepare --torch-program $(BENTO_MODELS)
	$(BIN)/bentoml build -f bentofile.gpu.yaml

image: bento ## Build the service's image, lightbox:latest; MODELS=pets bakes your own model into it
	$(BIN)/bentoml containerize lightbox:latest -t lightbox:latest -t lightbox:$(VERSION) \
		--opt build-arg=VERSION=$(VERSION) --opt build-arg=REVISION=$(REVISION)

image-gpu: bento-gpu ## Build the service's image for CUDA, lightbox-gpu:latest (6.4 GB)
	$(BIN)/bentoml containerize lightbox-gpu:latest -t lightbox-gpu:latest -t lightbox-gpu:$(VERSION) \
		--opt build-arg=VERSION=$(VERSION) --opt build-arg=REVISION=$(REVISION)

image-dashboard: ## Build the dashboard's image, lightbox-dashboard:latest
	docker build -f Dockerfile.dashboard -t lightbox-dashboard:latest -t lightbox-dashboard:$(VERSION) \
		--build-arg VERSION=$(VERSION) --build-arg REVISION=$(REVISION) .

images: image image-dashboard ## Build both images

push: ## Build both images and push them to REGISTRY, as latest and by version
push-gpu: ## The same with the image for CUDA
push: built := images
push: pushed := lightbox lightbox-dashboard
push-gpu: built := image-gpu
push-gpu: pushed := lightbox-gpu
push push-gpu:
	@test -n "$(REGISTRY)" || { echo "make $@: say where to, as in REGISTRY=registry.example.org/team" >&2; exit 1; }
	@$(MAKE) $(built)
	for image in $(pushed); do for tag in latest $(VERSION); do \
		docker tag $$image:$$tag $(REGISTRY)/$$image:$$tag && docker push $(REGISTRY)/$$image:$$tag || exit 1; \
	done; done

bench: setup ## Measure Lightbox beside its peers (35 minutes), and write docs/benchmarks.md and the README's figures
	tests/install-programs
	$(BIN)/python -m bench.compare --long
	$(BIN)/python -m docs.tables

bench-gpu: setup ## The same on a CUDA GPU
	$(BIN)/lightbox models prepare efficientnet_lite0
	$(BIN)/python -m bench.gpu --json

bench-containers: export BENTOML_HOME := $(CURDIR)/.cache/test-bentoml
bench-containers: setup ## Measure the images and their containers (25 minutes), and write that into docs/benchmarks.md
	tests/install-programs
	tests/containers/engine
	$(MAKE) images
	$(BIN)/python -m bench.containers --stock --json
	$(BIN)/python -m docs.tables
