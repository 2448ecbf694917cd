# make demo     bake the portfolio example to build/ and run it, on http://localhost:8050 (PORT and HOST change that)
# make app      make an app of your own. It asks for the title, and puts the app beside this folder, or in OUTPUT=FOLDER
# make test     the quick tests, for while you work: each part of the kit, and each promise once
# make check    all that CI runs: lint, quick, faults, scale, deploy and alone, with the time of each. For before a merge
# make lint     style (ruff), types (mypy) and the engine's layers (import-linter)
# make quick    the quick tests without those that measure time, and without the promises, which are tests of faults
# make faults   the tests that kill processes, and the engine's on Postgres; the long end-to-end tests
# make scale    what an operation reads with a million finished jobs, and with a hundred thousand that wait
# make deploy   install the engine, an app and the kit in empty environments, as users and hosts do; needs a package index,
#               and root and debootstrap for the test of the image
# make deploy-test  rehearse PUSHES=10 pushes of an app to a host under load, and pushes that are refused: six minutes
# make many     64 consumers with 1,000 workers behind a pooler of 40 connections: killed, deployed, idle and busy. Ten minutes
# make alone    the tests that measure time, and need the whole machine
# make wheel    build the engine into the template, and pin it there: before you commit a change of the engine
# make lock     pin the newest versions of all that the examples and the kit need
# make soak     the torture among the faults N=10 times: prints round, seed and pytest's closing line (pytest --seed 7 takes
#               that seed's chances); TESTS=tests/faults repeats them all, STORAGES=sqlite on one storage
# make bench    this queue beside its peers and where a job's time goes, what an idle app, the jobs page and what watching costs,
#               a consumer's memory after many jobs, a read of a dataset beside a bare request, and a claim beside pruning, the web server beside others, an
#               analysis by Dask, and the costs of benchmarks/capacity.py with three runs that check it: an hour and a half on a machine that does nothing else
# make notebooks   run the notebooks, and store what they show for the tests to compare with
# make screenshots  take every page of the example anew for docs/screens.md: light and dark, wide and on a phone
# make venv     the one environment that all of these use, in .venv

PYTHON ?= python3
BIN := .venv/bin
PEERS := build/bench-env
DEMO := build/portfolio-desk
BAKE := $(BIN)/cookiecutter --default-config --no-input
TEMPLATE := {{cookiecutter.app_name}}
# For programs that run elsewhere. Nothing else names the kit's own path, which may hold spaces and quotes.
SOURCE := $(CURDIR)/engine/src
PROGRAMS_FIRST := $(CURDIR)/$(BIN):$(PATH)
CHROMIUM_FOUND = CHROMIUM=$$($(BIN)/python tests/chromium.py) && export CHROMIUM

help:
	@sed -n '/^# /!q; s/^# //p' Makefile

venv: .venv/ready

# The peers want old versions of what the app has in new ones, so they have an environment of their own.
.venv/ready: requirements.txt
$(PEERS)/ready: benchmarks/requirements.txt

# With uv where there is one, with venv and pip where not. pip leaves a wheel of the same version as it is, so it is forced. pip
# compiles on one processor, compileall on all of them. It fails on a few files of packages that are for other versions of Python.
.venv/ready $(PEERS)/ready:
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is older than Python 3.11: name a newer one with make venv PYTHON=/path/to/python3"; exit 1; }
	@if command -v uv >/dev/null; then \
	  set -e -x; \
	  test -x $(@D)/bin/python || uv venv --python "$(PYTHON)" $(@D); \
	  uv pip sync --python $(@D) $<; \
	else \
	  set -e; \
	  test -x $(@D)/bin/python || "$(PYTHON)" -m venv $(@D); \
	  echo "Installing into $(@D): with pip, some minutes."; \
	  $(@D)/bin/python -m pip install --quiet --no-compile -r $<; \
	  $(@D)/bin/python -m compileall -qq -j 0 $(@D)/lib || true; \
	  test $(@D) != .venv || $(@D)/bin/python -m pip install --quiet --no-deps --force-reinstall '$(TEMPLATE)'/vendor/*.whl; \
	fi
	@touch $@

# Baked anew, but for var/ with its jobs. It runs on the wheel: `make wheel` brings the engine's changes into it.
# dotenv reads .env, and leaves what the environment sets. honcho would overwrite it.
demo: export PATH := $(PROGRAMS_FIRST)
demo: venv
	@mkdir -p $(DEMO)
	find $(DEMO) -mindepth 1 -maxdepth 1 ! -name var -exec rm -rf {} +
	bin/post_compile
	@printf '\n  Open http://localhost:%s - Ctrl-C stops it.\n\n' "$${PORT:-8050}"
	cd $(DEMO) && dotenv run --no-override honcho start --env /dev/null

OUTPUT ?= ..
app: venv
	$(BIN)/cookiecutter --output-dir "$(OUTPUT)" .

test: quick
	$(CHROMIUM_FOUND) && $(BIN)/python -m pytest -m 'not long and (alone or promise)' --ignore=tests/scale

quick: venv
	$(CHROMIUM_FOUND) && $(BIN)/python -m pytest -n 3 --dist loadgroup -m 'not long and not alone' --ignore=tests/faults --ignore=tests/scale

# The rest of `test` is in other parts: the promises in faults, the tests that measure time in alone.
check: venv
	@bin/check lint,quick faults scale,deploy alone

# Redis holds no job: it wakes workers. A pooler passes statements on. So beside the tests that break them, each kind of kill runs with
# one of them, in place of a plain Postgres. All run by `make soak TESTS=tests/faults STORAGES=hosted`, and so on.

# The engine's tests that `make test` runs on SQLite alone run here on Postgres too. It runs those of ON_BOTH on both. Tests of faults
# wait for half of their time, and those in a browser for a quarter or more, so more than two at a time are not too many for two cores.
ON_BOTH := database datasets ledger monitoring notifier schedules
faults: venv
	$(BIN)/python -m pytest -n 3 tests/engine --storages postgres -k postgres $(ON_BOTH:%=--ignore=tests/engine/%)
	$(CHROMIUM_FOUND) && $(BIN)/python -m pytest -n 4 --dist loadgroup -m 'not alone' tests/faults --storages sqlite,postgres \
	  -k 'not (test_torture.py or test_cancels.py or test_stops.py or test_kills.py) or not postgres'
	$(BIN)/python -m pytest -n 4 tests/faults --storages pgbouncer-transaction-unprepared,pgbouncer-transaction+valkey,hosted \
	  -k '(torture or cancels) and unprepared or stops and valkey or kills and hosted'
	$(CHROMIUM_FOUND) && $(BIN)/python -m pytest -n 3 --dist loadgroup -m 'long and not alone' tests/engine tests/end_to_end

# Minutes, and gigabytes of disk.
scale: venv
	$(BIN)/python -m pytest tests/scale

deploy: venv
	$(CHROMIUM_FOUND) && $(BIN)/python -m pytest -n 2 --dist loadfile -m 'long and not alone' tests/template tests/deploy \
	  tests/test_servers.py

# One at a time, with nothing beside it. The rehearsal of pushes is among them, with fewer pushes than in deploy-test.
alone: venv
	$(CHROMIUM_FOUND) && PUSHES=3 $(BIN)/python -m pytest -m alone \
	  tests/engine tests/faults tests/end_to_end tests/template tests/deploy

PUSHES ?= 10
deploy-test: venv
	PUSHES=$(PUSHES) $(BIN)/python -m pytest -s tests/deploy/test_rehearsal.py

many: venv
	CONSUMERS=64 JOBS=2000 $(BIN)/python -m pytest -s tests/faults/test_many_consumers.py -k once
	CONSUMERS=64 WORKERS=1000 JOBS=10000 IDLE_FOR=60 $(BIN)/python -m pytest -s tests/faults/test_many_consumers.py -k few_connections

N ?= 10
TESTS ?= tests/faults/test_torture.py
STORAGES ?= sqlite,postgres,postgres+valkey
soak: venv
	@$(CHROMIUM_FOUND); for round in $$(seq $(N)); do \
	  printf 'round %s of %s: ' $$round $(N); \
	  said=$$($(BIN)/python -m pytest -q $(TESTS) --storages $(STORAGES) 2>&1) || { echo "$$said"; exit 1; }; \
	  echo "$$said" | tail -n 2 | paste -sd' ' -; \
	done

# An app of its own, on a port of its own, beside whatever runs.
bench: export PYTHONPATH := $(SOURCE)
bench: venv $(PEERS)/ready
	rm -rf build/bench
	$(BAKE) --output-dir build/bench . app_name=bench
	echo PORT=8059 > build/bench/bench/.env
	$(CHROMIUM_FOUND) && $(BIN)/python benchmarks/embedded.py --app build/bench/bench
	$(CHROMIUM_FOUND) && $(BIN)/python -m benchmarks.jobs_page
	$(PEERS)/bin/python -m benchmarks.peers
	$(PEERS)/bin/python -m benchmarks.costs
	$(BIN)/python benchmarks/memory.py
	$(BIN)/python benchmarks/datasets.py
	$(BIN)/python -m benchmarks.pruning
	$(BIN)/python -m benchmarks.web
	$(BIN)/python -m benchmarks.web_servers
	$(BIN)/python -m benchmarks.parallel
	$(BIN)/python -m benchmarks.capacity_runs

notebooks: venv
	$(BIN)/python notebooks/store.py

screenshots: export PYTHONPATH := $(SOURCE):$(CURDIR)/$(TEMPLATE)
screenshots: export PYTHONDONTWRITEBYTECODE := 1
screenshots: venv
	@$(CHROMIUM_FOUND) && set -x && $(BIN)/python -m docs.screenshots

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	PYTHONPATH=engine/src $(BIN)/lint-imports --no-logo --cache-dir .import_linter_cache engine/pyproject.toml
	$(BIN)/mypy
	cd '$(TEMPLATE)' && MYPYPATH=../engine/src ../$(BIN)/mypy --cache-dir ../.mypy_cache

# Without the environment's check, which would refuse a wheel that does not have the pinned hash yet.
wheel:
	@test -x $(BIN)/python || $(MAKE) venv
	$(BIN)/python engine/wheel.py

UV_COMPILE = uv pip compile --universal --upgrade --generate-hashes --python-version 3.11 --no-annotate \
  --no-emit-index-url --custom-compile-command "make lock" --quiet
PINNED := templates/requirements

# The engine's wheel is given by its path, as it is in the apps' own `make lock`.
lock: export PATH := $(PROGRAMS_FIRST)
lock: venv
	rm -rf build/lock
	$(BAKE) --output-dir build/lock . app_name=with-portfolio example=portfolio
	$(BAKE) --output-dir build/lock . app_name=with-blank example=blank
	cd build/lock/with-portfolio && printf '%s\n' ./vendor/*.whl | $(UV_COMPILE) pyproject.toml - -o ../../../$(PINNED)-portfolio.txt
	grep == $(PINNED)-portfolio.txt | tr -d '\\' > build/lock/constraints.txt
	cd build/lock/with-blank && printf '%s\n' ./vendor/*.whl | \
	  $(UV_COMPILE) pyproject.toml - --constraint ../constraints.txt -o ../../../$(PINNED)-blank.txt
	printf '%s\n' './$(TEMPLATE)'/vendor/*.whl | $(UV_COMPILE) pyproject.toml build/lock/with-portfolio/pyproject.toml - \
	  --extra dev --extra lab --constraint build/lock/constraints.txt -o requirements.txt
	$(UV_COMPILE) benchmarks/requirements.in -o benchmarks/requirements.txt

.PHONY: help venv demo app test quick check lint faults scale deploy alone deploy-test many wheel lock soak bench notebooks screenshots
