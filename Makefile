# make demo and make test need python3 (3.10 to 3.13), pip and make, and set up .venv.
# The demo installs tensorflow-cpu. The tests also need TF-Keras, which requires the larger package
# `tensorflow`. Both packages provide the same module, so each installation removes the other one.
# TENSORFLOW=cpu: the tests, too, use tensorflow-cpu, without what only the experiments need.
PYTHON ?= python3
TENSORFLOW ?= experiments
BIN := .venv/bin
# Debian leaves out of python3 what venv needs to install pip (it is in python3-venv).
SITE := import sysconfig; print(sysconfig.get_path("purelib"))
BARE_VENV = { $(PYTHON) -m venv --clear --without-pip .venv && $(PYTHON) -m pip install --quiet \
    --disable-pip-version-check --target "$$($(BIN)/python -c '$(SITE)')" pip; }
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
FOR_DEMO := .venv/.installed_for_demo
INSTALLED := .venv/.installed

.PHONY: demo test test-slow test-nightly test-all lint types wheel clean
.NOTPARALLEL:

# The installation for the tests serves the demo, too.
demo:
	@$(MAKE) --no-print-directory $$(test -e $(INSTALLED) && echo $(INSTALLED) || echo $(FOR_DEMO))
	@$(BIN)/python examples/quickstart.py

# A file of tests stays on one worker, so that what its tests share is made once.
test test-slow test-nightly: PYTEST := $(BIN)/python -m pytest -q -n 2 --dist loadfile --durations 30
test: $(INSTALLED)
	$(PYTEST) -m "not slow"

test-slow: $(INSTALLED)
	$(PYTEST) -m "slow and not nightly"

test-nightly: $(INSTALLED)
	$(PYTEST) -m "slow and nightly"

test-all: test test-slow test-nightly

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED)
	$(BIN)/mypy

wheel: $(INSTALLED)
	$(BIN)/python -m build --wheel

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache

$(FOR_DEMO): EXTRAS := cpu
$(FOR_DEMO): SIZE := 0.4 GB to download, 1.7 GB on disk
$(INSTALLED): EXTRAS := $(TENSORFLOW),tensorboard,dev
$(INSTALLED): SIZE := 1 GB to download, 3 GB on disk

# The demo imports a small part of what is installed, and Python compiles that by itself.
$(FOR_DEMO): COMPILE := --no-compile
$(FOR_DEMO) $(INSTALLED): setup.cfg pyproject.toml
	@echo "Installing [$(EXTRAS)] into .venv: $(SIZE)"
	@rm -f $(FOR_DEMO) $(INSTALLED)
	@$(BIN)/python -m pip --version > /dev/null 2>&1 || $(PYTHON) -m venv .venv || $(BARE_VENV)
	@$(PIP) --quiet uninstall --yes $(if $(filter cpu%,$(EXTRAS)),tensorflow,tensorflow-cpu)
	@$(PIP) install $(COMPILE) --editable ".[$(EXTRAS)]"
	@touch $@
