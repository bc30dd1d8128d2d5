# Everything from a bare machine: `make demo` and `make test` set up first. PYTHON names the interpreter.
PYTHON ?= python3.11
VENV := .venv
STAMP := $(VENV)/.mmilmil-ready

.PHONY: help setup demo test docs docs-commands mutants lint clean

help:
	@echo 'make demo   set up, then run the main job on the built-in demo set'
	@echo 'make test   set up, then run all tests'
	@echo 'make docs   set up, then build the documentation into site/index.html'
	@echo 'make docs-commands  run the commands that the documentation shows, on tiny drawn sets (half an hour)'
	@echo 'make mutants  try the tests of the formulas, filter and metrics on changed code (hours)'
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

# A dead link, a page that the navigation lacks or a docstring that cannot be read fails.
docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict --quiet
	@echo 'site/index.html; to search in it: $(VENV)/bin/python -m http.server -d site'

docs-commands: $(STAMP)
	$(VENV)/bin/python tests/run_docs_commands.py

# In an environment of its own, which sees the tested stack: mutmut's requirements must not move it. Interrupted, it goes on.
mutants: $(STAMP)
	$(VENV)/bin/python -m venv $(VENV)/mutants
	$(VENV)/bin/python -c 'import site; print(site.getsitepackages()[0])' > \
	    "$$($(VENV)/mutants/bin/python -c 'import site; print(site.getsitepackages()[0])')/stack.pth"
	$(VENV)/mutants/bin/pip install -q mutmut==3.8.1
	OMP_NUM_THREADS=1 $(VENV)/mutants/bin/mutmut run
	$(VENV)/bin/python tests/mutants.py --survivors

lint: $(STAMP)
	$(VENV)/bin/ruff check .

clean:
	rm -rf $(VENV) mutants site build dist mmilmil.egg-info mmilmil/.mim .pytest_cache .ruff_cache work_dirs/demo data/shapes
