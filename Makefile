# One target per chore. Everything happens in .venv, which `setup` makes.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup demo test test-fast test-aarch64 lint bench

setup: .venv/.installed

.venv/.installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $@

demo: setup
	$(BIN)/mlkdc run --recipe quickstart

test: setup
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto

# Without converters and trainings: under a minute.
test-fast: setup
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto -m "not converter and not slow"

# The agent on an emulated Arm board: Debian with qemu-user-static and a network, 60 MB, minutes.
test-aarch64: setup
	OMP_NUM_THREADS=1 MLKDC_TEST_AARCH64=1 $(BIN)/pytest tests/devices/test_emulated_aarch64.py

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup
	$(BIN)/python benchmarks/methods.py quickstart
	$(BIN)/python benchmarks/methods.py digits
	$(BIN)/python benchmarks/render.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/losses.py
