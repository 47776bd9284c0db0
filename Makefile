# `make demo` runs the main job, `make test` the tests; both install what they need first.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: demo test slow check lint types audit docs bench proto lock clean

demo: $(VENV)/.server
	$(BIN)/alaas demo

test: $(VENV)/.dev
	$(BIN)/python -m pytest -m "not slow and not gpu"

slow: $(VENV)/.dev
	$(BIN)/python -m pytest -m "slow or gpu"

check: lint types audit test

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports

types: $(VENV)/.dev
	$(BIN)/mypy alaas

# Known weaknesses of the locked packages; what `security/advisories.toml` accepts is told.
audit: $(VENV)/.dev
	$(BIN)/python security/audit.py

docs: $(VENV)/.dev
	$(BIN)/python docs/strategies/draw.py
	$(BIN)/python docs/generate.py
	$(BIN)/mkdocs build --strict

bench: $(VENV)/.dev
	mkdir -p benchmarks/.figures
	$(BIN)/python -m benchmarks.suite --json benchmarks/.figures/suite.json
	$(BIN)/python -m benchmarks.pools --json benchmarks/.figures/pools.json
	$(BIN)/python -m benchmarks.startup --json benchmarks/.figures/startup.json
	$(BIN)/python -m benchmarks.layouts --json benchmarks/.figures/layouts.json
	$(BIN)/python -m benchmarks.fairness --json benchmarks/.figures/fairness.json
	$(BIN)/python -m benchmarks.memory --json benchmarks/.figures/memory.json
	$(BIN)/python -m benchmarks.strategies

# The stubs are committed: a user of the wheel has no compiler of protocol buffers.
proto: $(VENV)/.dev
	$(BIN)/python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. --grpc_python_out=. \
	  alaas/proto/alaas/v1/active_learning.proto

# Resolve pyproject.toml afresh and write down what came out.
lock:
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -e '.[dev]'
	( echo '# What `make lock` resolved pyproject.toml to; the constraints of every installation.'; \
	  $(BIN)/python -m pip freeze --exclude-editable ) > requirements.lock
	touch $(VENV)/.server $(VENV)/.dev

clean:
	rm -rf $(VENV) alaas-demo site build dist *.egg-info

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.dev: pyproject.toml requirements.lock | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet -c requirements.lock -e '.[dev]'
	touch $(VENV)/.server $@

$(VENV)/.server: pyproject.toml requirements.lock | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet -c requirements.lock -e '.[server]'
	touch $@
