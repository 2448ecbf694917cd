# make demo     bake the portfolio example to build/ and run it (http://localhost:8050)
# make test     every test; a fault kills real processes, so those run one at a time at the end
# make lint     style (ruff) and types (mypy), of the kit and of the template where it lies
# make lock     pin the newest versions of all that the examples and the kit need
# make faults   the fault tests alone; make soak N=10 repeats them
# make bench    this queue beside its peers
# make venv     the one environment that all of these use, in .venv

PYTHON ?= python3
BIN := .venv/bin
TEMPLATE := {{cookiecutter.app_name}}
DEMO := build/portfolio-desk
# The template holds no Jinja in its Python, so it is run where it lies: no caches may lie there too, they would be baked.
export PYTHONDONTWRITEBYTECODE := 1

help:
	@sed -n 's/^# make/make/p' Makefile

venv: .venv/ready

# With uv where there is one, with venv and pip where not.
.venv/ready: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is older than Python 3.11: name a newer one with make venv PYTHON=/path/to/python3"; exit 1; }
	@if command -v uv >/dev/null; then \
	  set -e -x; \
	  test -x $(BIN)/python || uv venv --python $(PYTHON) .venv; \
	  uv pip sync --python .venv requirements.txt; \
	else \
	  set -e -x; \
	  test -x $(BIN)/python || $(PYTHON) -m venv .venv; \
	  $(BIN)/python -m pip install --quiet -r requirements.txt; \
	fi
	@touch $@

# Baked anew, but for var/ with its jobs.
demo: venv
	@mkdir -p $(DEMO)
	find $(DEMO) -mindepth 1 -maxdepth 1 ! -name var -exec rm -rf {} +
	$(BIN)/cookiecutter --default-config --no-input --overwrite-if-exists --output-dir build . app_title="Portfolio desk"
	@printf '\n  Open http://localhost:8050 - Ctrl-C stops it.\n\n'
	cd $(DEMO) && PATH="$(CURDIR)/$(BIN):$$PATH" honcho start

test: venv
	$(BIN)/python -m pytest -n 2 --ignore tests/faults

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

UV_COMPILE = $(BIN)/uv pip compile --universal --upgrade --generate-hashes --python-version 3.11 --no-annotate \
  --no-emit-index-url --custom-compile-command "make lock" --quiet

lock: venv
	rm -rf build/lock
	$(BIN)/cookiecutter --default-config --no-input --output-dir build/lock . app_name=with-portfolio example=portfolio
	$(BIN)/cookiecutter --default-config --no-input --output-dir build/lock . app_name=with-blank example=blank
	$(UV_COMPILE) build/lock/with-portfolio/pyproject.toml --output-file templates/requirements-portfolio.txt
	$(UV_COMPILE) build/lock/with-blank/pyproject.toml --constraint templates/requirements-portfolio.txt \
	  --output-file templates/requirements-blank.txt
	$(UV_COMPILE) pyproject.toml build/lock/with-portfolio/pyproject.toml --extra dev \
	  --constraint templates/requirements-portfolio.txt --output-file requirements.txt

.PHONY: help venv demo test lint lock faults soak bench
