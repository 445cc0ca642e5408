# make run: install, and answer the question on the embedded data set.
# make test: install, and run the tests but for those marked slow.   make test-all: all of them, as every change is checked.
# make reliability: install, and try to break the command for ten minutes.
# make studies: install, and run the nine studies of the course on the embedded data set, report in two languages, notebook.
PYTHON ?= python3
BIN := .venv/bin
# torch comes first and alone: a range that admits a newer one would bring gigabytes of another build.
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: run studies test test-all reliability bench lint wheel clean

run: .venv/installed
	$(BIN)/unlabeled run

studies: .venv/installed
	$(BIN)/unlabeled run --study all
	$(BIN)/unlabeled report runs/shapes-quick-studies --lang ru
	$(BIN)/unlabeled notebook runs/shapes-quick-studies

# Whoever has nothing left takes half of what the other still has to do.
test: .venv/installed-dev lint
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow"

test-all: .venv/installed-dev lint
	$(BIN)/python -m pytest -n 2 --dist worksteal

# Kills, damaged and hostile files, odd surroundings, sanitizers: ten minutes. Some of it needs root, and is left out without.
reliability: .venv/installed-dev
	cd tests && ../$(BIN)/python -W ignore -m reliability

# All cases take about 20 minutes on two cores that have nothing else to do; one alone: .venv/bin/python -m benchmarks ae1
bench: .venv/installed-bench
	$(BIN)/python -m benchmarks

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

wheel: .venv/installed-dev
	rm -rf dist
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(PIP_INSTALL) torch
	$(PIP_INSTALL) --editable '.[notebook]'
	touch $@

.venv/installed-dev: .venv/installed
	$(PIP_INSTALL) --editable '.[dev]'
	touch $@

.venv/installed-bench: .venv/installed
	$(PIP_INSTALL) --editable '.[bench]'
	touch $@

clean:
	rm -rf .venv dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
