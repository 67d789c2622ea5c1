# Two commands do everything on a fresh machine with Python 3.11: `make demo` and `make test`.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

# Tests of the viewer need a display with OpenGL: the one that is there, or a virtual one.
DEBIAN := xvfb xauth libgl1 libgl1-mesa-dri libegl1 libglib2.0-0 libdbus-1-3 libfontconfig1 libxkbcommon-x11-0 \
  libxcb-cursor0 libxcb-icccm4 libxcb-image0 libxcb-keysyms1 libxcb-randr0 libxcb-render-util0 libxcb-shape0 \
  libxcb-xinerama0 libxcb-xkb1
VIRTUAL := $(if $(filter Linux,$(shell uname -s)),$(if $(DISPLAY),,yes))
SCREEN := $(VENV)/.screen$(if $(VIRTUAL),,-own)
ON_SCREEN := $(if $(VIRTUAL),xvfb-run -a -s "-screen 0 1600x1000x24")

.PHONY: demo test lint samples clean

demo: $(VENV)/.installed  ## refocus the bundled sample with the bundled model; look into demo_output/
	$(BIN)/focuslab demo --output demo_output

test: $(VENV)/.tests $(SCREEN)  ## the whole test suite
	$(ON_SCREEN) $(BIN)/python -m pytest --numprocesses auto --dist loadfile

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
	$(INSTALL) -e ".[gui,train,bioimageio,distributed,zarr]" pytest pytest-cov pytest-qt pytest-xdist hypothesis monai
	touch $@

$(SCREEN): $(VENV)/.installed
	@if [ -n "$(VIRTUAL)" ]; then \
	  missing=""; \
	  if command -v dpkg >/dev/null; then for package in $(DEBIAN); do \
	    dpkg -s $$package >/dev/null 2>&1 || dpkg -s $${package}t64 >/dev/null 2>&1 || missing="$$missing $$package"; done; \
	  elif ! command -v xvfb-run >/dev/null; then missing=" xvfb-run and Mesa"; fi; \
	  if [ -n "$$missing" ] && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -qq && apt-get install -y -qq $$missing; \
	  elif [ -n "$$missing" ]; then \
	    echo "The tests of the viewer need a virtual display. Install:$$missing"; exit 1; fi; fi
	touch $@

$(VENV)/.lint: $(VENV)/.tests
	$(INSTALL) ruff mypy types-PyYAML npe2
	touch $@

clean:
	rm -rf $(VENV) demo_output
