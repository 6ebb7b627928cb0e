# Recipes for people and for CI alike. Each backend has an environment of its own: .venv-NAME.
PYTHON ?= python3
JOBS ?= 2
BACKEND ?= tensorflow
VENV = .venv-$(BACKEND)
BIN = $(VENV)/bin
RUN = KERAS_BACKEND=$(BACKEND) TF_CPP_MIN_LOG_LEVEL=3

.PHONY: help demo test test-all lint types examples docs format build clean venv
help:            ## list the recipes
	@grep -E '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 14

$(VENV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[$(BACKEND),dev]'
	touch $@

venv: $(VENV)/ready  ## make the environment of one backend

demo: $(VENV)/ready  ## train two small models, audit them, say where the reports lie
	@$(RUN) $(BIN)/hoplon demo

test: $(VENV)/ready  ## the whole suite on one backend (BACKEND=tensorflow|jax|torch)
	$(RUN) $(BIN)/python -m pytest -n $(JOBS)

test-all:        ## the suite on all three backends
	$(MAKE) test BACKEND=tensorflow
	$(MAKE) test BACKEND=jax
	$(MAKE) test BACKEND=torch

lint: $(VENV)/ready  ## style, and the generated pages are up to date
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(RUN) $(BIN)/python docs/generate.py --check

types: $(VENV)/ready  ## type check of src
	$(BIN)/mypy

format: $(VENV)/ready  ## write the code in the house's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/ready  ## write the generated pages again
	$(RUN) $(BIN)/python docs/generate.py

examples: $(VENV)/ready  ## run the examples on embedded data
	$(RUN) $(BIN)/python examples/01_keras_fgsm.py
	$(RUN) $(BIN)/python examples/03_mnist_evasion.py --quick
	$(RUN) $(BIN)/python examples/04_hkr_certificates.py --epochs 3 --width 8 --cw 2x50
	$(RUN) $(BIN)/python examples/05_security_curve.py --images 100
	$(RUN) $(BIN)/python examples/06_certificates.py --images 40 --samples 500

build: $(VENV)/ready  ## a wheel and a source archive in dist/
	$(BIN)/python -m build

clean:           ## remove environments and everything generated
	rm -rf .venv-* build dist runs .mypy_cache .ruff_cache .pytest_cache .hypothesis
