# make demo     bake the portfolio example to build/ and run it, on http://localhost:8050
# make test     the tests: those that kill processes or drive a browser one at a time, at the end
# make lint     style (ruff) and types (mypy), of the kit and of the template where it lies
# make lock     pin the newest versions of all that the examples and the kit need
# make faults   the tests that kill processes, alone, on every storage
# make soak     the torture among them N=10 times: prints round, seed and pytest's closing line (pytest --seed 7 takes that
#               seed's chances); TESTS=tests/faults repeats them all, STORAGES=sqlite on one storage
# make scale    what an operation reads with a million finished jobs, and with a hundred thousand that wait
# make bench    this queue beside its peers and where a job's time goes, what an idle app, the jobs page and what watching costs,
#               a read of a dataset beside a bare request, and a claim beside pruning: an hour on a machine that does nothing else
# make notebooks   run the notebooks, and store what they show for the tests to compare with
# make screenshots  take every page of the example anew for docs/screens.md: light and dark, wide and on a phone
# make venv     the one environment that all of these use, in .venv

PYTHON ?= python3
BIN := .venv/bin
PEERS := build/bench-env
DEMO := build/portfolio-desk
BAKE := $(BIN)/cookiecutter --default-config --no-input
TEMPLATE := {{cookiecutter.app_name}}

help:
	@sed -n '/^# /!q; s/^# //p' Makefile

venv: .venv/ready

# The peers want old versions of what the app has in new ones, so they have an environment of their own.
.venv/ready: requirements.txt
$(PEERS)/ready: benchmarks/requirements.txt

# With uv where there is one, with venv and pip where not.
.venv/ready $(PEERS)/ready:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is older than Python 3.11: name a newer one with make venv PYTHON=/path/to/python3"; exit 1; }
	@if command -v uv >/dev/null; then \
	  set -e -x; \
	  test -x $(@D)/bin/python || uv venv --python $(PYTHON) $(@D); \
	  uv pip sync --python $(@D) $<; \
	else \
	  set -e; \
	  test -x $(@D)/bin/python || $(PYTHON) -m venv $(@D); \
	  echo "Installing into $(@D): with pip, some minutes."; \
	  $(@D)/bin/python -m pip install --quiet -r $<; \
	fi
	@touch $@

# Baked anew, but for var/ with its jobs.
demo: venv
	@mkdir -p $(DEMO)
	find $(DEMO) -mindepth 1 -maxdepth 1 ! -name var -exec rm -rf {} +
	PATH="$(CURDIR)/$(BIN):$$PATH" bin/post_compile
	@printf '\n  Open http://localhost:8050 - Ctrl-C stops it.\n\n'
	cd $(DEMO) && PATH="$(CURDIR)/$(BIN):$$PATH" honcho start

# Two at a time, but for those that keep time: they run at the end, and nothing beside them.
test: venv
	@CHROMIUM=$$($(BIN)/python tests/chromium.py) && export CHROMIUM && set -x && \
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m 'not long and not alone' --ignore=tests/faults --ignore=tests/scale && \
	$(BIN)/python -m pytest -m 'not long and (alone or promise)' --ignore=tests/scale

STORAGES ?= sqlite,postgres,postgres+valkey

# The engine's tests that `make test` runs on SQLite alone run here on Postgres too.
faults: venv
	$(BIN)/python -m pytest -n 2 tests/engine --storages postgres -k postgres
	$(BIN)/python -m pytest tests/faults --storages $(STORAGES)
	CHROMIUM=$$($(BIN)/python tests/chromium.py) $(BIN)/python -m pytest -m long tests/end_to_end

N ?= 10
TESTS ?= tests/faults/test_torture.py
soak: venv
	@for round in $$(seq $(N)); do \
	  printf 'round %s of %s: ' $$round $(N); \
	  said=$$($(BIN)/python -m pytest -q $(TESTS) --storages $(STORAGES) 2>&1) || { echo "$$said"; exit 1; }; \
	  echo "$$said" | tail -n 2 | paste -sd' ' -; \
	done

# Not among `make test`: it takes minutes, and gigabytes of disk.
scale: venv
	$(BIN)/python -m pytest tests/scale

# An app of its own, on a port of its own, beside whatever runs.
bench: venv $(PEERS)/ready
	rm -rf build/bench
	$(BAKE) --output-dir build/bench . app_name=bench
	echo PORT=8059 > build/bench/bench/.env
	CHROMIUM=$$($(BIN)/python tests/chromium.py) $(BIN)/python benchmarks/embedded.py --app build/bench/bench
	CHROMIUM=$$($(BIN)/python tests/chromium.py) $(BIN)/python -m benchmarks.jobs_page
	$(PEERS)/bin/python -m benchmarks.peers
	$(PEERS)/bin/python -m benchmarks.costs
	$(BIN)/python benchmarks/datasets.py
	$(BIN)/python -m benchmarks.pruning
	$(BIN)/python -m benchmarks.web

notebooks: venv
	$(BIN)/python notebooks/store.py

screenshots: venv
	@CHROMIUM=$$($(BIN)/python tests/chromium.py) && export CHROMIUM && set -x && \
	PYTHONPATH='$(TEMPLATE)' PYTHONDONTWRITEBYTECODE=1 $(BIN)/python -m docs.screenshots

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	cd '$(TEMPLATE)' && $(CURDIR)/$(BIN)/mypy --cache-dir $(CURDIR)/.mypy_cache

UV_COMPILE = $(BIN)/uv pip compile --universal --upgrade --generate-hashes --python-version 3.11 --no-annotate \
  --no-emit-index-url --custom-compile-command "make lock" --quiet

lock: venv
	rm -rf build/lock
	$(BAKE) --output-dir build/lock . app_name=with-portfolio example=portfolio
	$(BAKE) --output-dir build/lock . app_name=with-blank example=blank
	$(UV_COMPILE) build/lock/with-portfolio/pyproject.toml --output-file templates/requirements-portfolio.txt
	$(UV_COMPILE) build/lock/with-blank/pyproject.toml --constraint templates/requirements-portfolio.txt \
	  --output-file templates/requirements-blank.txt
	$(UV_COMPILE) pyproject.toml build/lock/with-portfolio/pyproject.toml --extra dev \
	  --constraint templates/requirements-portfolio.txt --output-file requirements.txt
	$(UV_COMPILE) benchmarks/requirements.in --output-file benchmarks/requirements.txt

.PHONY: help venv demo test lint lock faults soak scale bench notebooks screenshots
