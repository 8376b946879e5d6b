# Two targets for a newcomer: `make demo` and `make test`. Both set up .venv first.
VENV := .venv
PYTHON ?= python3
PYTEST := $(VENV)/bin/pytest -n 2 --dist loadfile --no-loadscope-reorder

# Without compiled modules every process compiles the project, and every worker the tests, anew: seconds each time.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-fast gpu-check faults lint docs setup clean

demo: setup
	$(VENV)/bin/personascope demo

test: setup
	$(PYTEST)

# The inner loop: every wing, without what trains, starts a browser or binds every view.
test-fast: setup
	$(PYTEST) -m "not slow"

# On a GPU box: torch, transformers and peft are enough, so it takes the python there is where nothing was set up here.
gpu-check:
	$(if $(wildcard $(VENV)/bin/python),$(VENV)/bin/python,$(PYTHON)) tests/gpu/check.py

# Kills, crowds and hostile inputs, in one table; on an idle machine half an hour.
faults: setup
	OMP_NUM_THREADS=1 PYTHONPATH=tests $(VENV)/bin/python tests/faults/fault_round.py $(FAULTS)

lint: setup
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	MYPYPATH=$(VENV)/src:tests:tests/faults $(VENV)/bin/mypy $(VENV)/src/personascope tests --exclude '/personascope/(tests|examples|docs|build)/'

docs: setup
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict --quiet

setup: $(VENV)/.installed

# Type checkers do not follow the package's mapping onto the checkout: the link shows them the folder under its package's name.
$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable ".[dev]"
	mkdir -p $(VENV)/src && ln -sfn ../.. $(VENV)/src/personascope
	touch $@

clean:
	rm -rf $(VENV) build site *.egg-info
