# make demo and make test need python3 (3.10 to 3.13), pip and make: the first of them sets up .venv.
# TENSORFLOW=cpu installs the smaller package for CPUs, without what only the experiments need: TF-Keras
# requires the package `tensorflow`, and pip would install one over the other.
PYTHON ?= python3
TENSORFLOW ?= experiments
BIN := .venv/bin
# Debian leaves out of python3 what venv needs to install pip (it is in python3-venv).
SITE := import sysconfig; print(sysconfig.get_path("purelib"))
BARE_VENV = { $(PYTHON) -m venv --clear --without-pip .venv && $(PYTHON) -m pip install --quiet \
    --disable-pip-version-check --target "$$($(BIN)/python -c '$(SITE)')" pip; }
INSTALLED := .venv/.installed

.PHONY: demo test lint types wheel clean

demo: $(INSTALLED)
	$(BIN)/python examples/quickstart.py

test: $(INSTALLED)
	$(BIN)/python -m pytest -q -n 2

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED)
	$(BIN)/mypy

wheel: $(INSTALLED)
	$(BIN)/python -m build --wheel

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache

$(INSTALLED): setup.cfg pyproject.toml
	$(BIN)/python -m pip --version > /dev/null 2>&1 || $(PYTHON) -m venv .venv || $(BARE_VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	    --editable ".[$(TENSORFLOW),tensorboard,dev]"
	touch $@
