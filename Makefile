# Everything from a bare machine: `make demo` and `make test` set up first. PYTHON names the interpreter.
PYTHON ?= python3.11
VENV := .venv
STAMP := $(VENV)/.mmilmil-ready

.PHONY: help setup demo test lint clean

help:
	@echo 'make demo   set up, then run the main job on the built-in demo set'
	@echo 'make test   set up, then run all tests'
	@echo 'make setup  only set up: virtual environment in .venv with the tested stack'
	@echo 'make lint   check the code with ruff'
	@echo 'make clean  remove the virtual environment and what runs left behind'

setup: $(STAMP)

$(STAMP): requirements.txt requirements-dev.txt pyproject.toml setup.py tools/setup_env.sh
	@bash tools/setup_env.sh '$(PYTHON)' '$(VENV)'
	@touch $@

demo: $(STAMP)
	$(VENV)/bin/python tools/demo.py

test: $(STAMP)
	$(VENV)/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

lint: $(STAMP)
	$(VENV)/bin/ruff check .

clean:
	rm -rf $(VENV) build dist mmilmil.egg-info mmilmil/.mim .pytest_cache .ruff_cache work_dirs/demo data/shapes
