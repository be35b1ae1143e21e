# Everything a fresh machine needs: `make demo` and `make test` create the environment themselves.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
OBJECTS128 ?= ../shared/data/objects128

# Tests on the real object set run where the folder is present and skip, with a reason, elsewhere.
ifneq ($(wildcard $(OBJECTS128)/objects.json),)
export GEOTRAP_OBJECTS128 ?= $(abspath $(OBJECTS128))
endif

.PHONY: help install demo test lint docs clean

help:
	@echo "make demo   install, then train, attack and compare on the embedded default"
	@echo "make test   install, then the whole test suite with lint and types"
	@echo "make lint   ruff and mypy"
	@echo "make docs   write docs/commands.md and the table of docs/attacks.md"
	@echo "make clean  remove the environment and the demo's runs"

install: $(STAMP)

# torch is named in the same command as everything that depends on it, so that the constraint picks the CPU build.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch==2.13.0 -e ".[dev]"
	@touch $(STAMP)

demo: $(STAMP)
	$(BIN)/geotrap train --profile pos_opacity.toml --runs demo/runs
	$(BIN)/geotrap attack --lora --runs demo/runs
	$(BIN)/geotrap compare --runs demo/runs

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	$(BIN)/python -m pytest -n 2 --dist loadgroup

docs: $(STAMP)
	$(BIN)/python docs/write_commands.py
	$(BIN)/python docs/write_attacks.py

clean:
	rm -rf $(VENV) demo build dist *.egg-info
