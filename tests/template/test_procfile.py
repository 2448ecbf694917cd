"""Tests of the baked Procfile, whose lines honcho, Heroku and Dokku read."""

import json
import shlex
import shutil
from pathlib import Path

from honcho.environ import parse_procfile

from tests import baking
from tests.baking import Bake

DEMO = "build/portfolio-desk"


def test_it_names_web_and_worker_a_line_each(app: Path) -> None:
    assert list(processes(app / "Procfile")) == ["web", "worker"]
    assert list(processes(app / "Procfile.dev")) == ["web", "worker"]
    assert [line.split(":")[0] for line in app.joinpath("Procfile").read_text().splitlines()] == ["web", "worker"]


def test_every_program_that_it_names_is_installed(app: Path) -> None:
    for name in ("Procfile", "Procfile.dev"):
        for command in processes(app / name).values():
            program = next(word for word in shlex.split(command) if "=" not in word)
            assert shutil.which(program, path=str(baking.PROGRAMS)), f"{name} runs {program}, which is not installed"


def test_web_and_worker_are_the_apps_own_commands(app: Path) -> None:
    assert processes(app / "Procfile") == {"web": "python -m app web", "worker": "python -m app worker"}


def test_in_development_a_running_job_is_released_before_the_worker_is_killed(app: Path) -> None:
    worker = shlex.split(processes(app / "Procfile.dev")["worker"])
    grace = next(float(word.split("=")[1]) for word in worker if word.startswith("WORKER_GRACE="))
    assert grace < float(option(worker, "--sigint-timeout")) / 2
    assert "python -m app worker" in worker


def test_hosts_start_one_of_each_and_wait_for_the_health_check(app: Path) -> None:
    told = json.loads(app.joinpath("app.json").read_text())
    assert told["formation"] == {name: {"quantity": 1} for name in processes(app / "Procfile")}
    assert told["addons"] == ["heroku-postgresql", "heroku-redis"]
    assert told["env"]["APP_ENV"]["value"] == "production"
    assert told["env"]["SECRET_KEY"]["generator"] == "secret"
    (probe,) = told["healthchecks"]["web"]
    assert (probe["path"], probe["attempts"], probe["wait"]) == ("/readyz", 20, 3)


def test_procfile_of_the_kit_runs_the_demo(bake: Bake) -> None:
    demo = processes(bake("portfolio") / "Procfile")
    assert processes(baking.KIT / "Procfile") == {name: f"cd {DEMO} && {command}" for name, command in demo.items()}


def processes(procfile: Path) -> dict[str, str]:
    return dict(parse_procfile(procfile.read_text()).processes)


def option(command: list[str], name: str) -> str:
    return command[command.index(name) + 1]
