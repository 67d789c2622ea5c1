# Two commands do everything on a fresh machine with Python 3.11: `make demo` and `make test`.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test lint samples clean

demo: $(VENV)/.installed  ## refocus the bundled sample with the bundled model; look into demo_output/
	$(BIN)/focuslab demo --out demo_output

test: $(VENV)/.tests  ## the whole test suite
	$(BIN)/python -m pytest

lint: $(VENV)/.lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/npe2 validate --imports focuslab

samples: $(VENV)/.installed  ## write sample_data/*.tif again
	$(BIN)/python sample_data/make_samples.py sample_data
	rm -f sample_data/*.focuslab.json

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or newer is needed, $(PYTHON) is $$($(PYTHON) --version). Set PYTHON=/path/to/python3.11."; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' || { \
	  echo "The venv module is missing: apt-get install python3-venv"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(INSTALL) -e .
	touch $@

$(VENV)/.tests: $(VENV)/.installed
	$(INSTALL) -e ".[train,bioimageio]" pytest pytest-cov hypothesis
	touch $@

$(VENV)/.lint: $(VENV)/.tests
	$(INSTALL) ruff mypy types-PyYAML npe2
	touch $@

clean:
	rm -rf $(VENV) demo_output
