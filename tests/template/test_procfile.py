"""Tests of the baked Procfile, whose lines honcho, Heroku and Dokku read."""

import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from honcho.environ import parse_procfile

from tests import baking
from tests.baking import Bake

DEMO = "build/portfolio-desk"
PRODUCTION = {
    "APP_ENV": "production",
    "SECRET_KEY": "k3yTh4tNobodyGuesses-0123456789abcdefg",
    "DATABASE_URL": "postgresql://ann@127.0.0.1:1/nowhere",
}


def test_it_names_web_and_worker_a_line_each(app: Path) -> None:
    assert list(processes(app / "Procfile")) == ["web", "worker"]
    assert list(processes(app / "Procfile.dev")) == ["web", "worker"]
    assert [line.split(":")[0] for line in app.joinpath("Procfile").read_text().splitlines()] == ["web", "worker"]


def test_every_program_that_it_names_is_installed(app: Path) -> None:
    for name in ("Procfile", "Procfile.dev"):
        for command in processes(app / name).values():
            program = next(word for word in shlex.split(command) if "=" not in word)
            assert shutil.which(program, path=str(baking.PROGRAMS)), f"{name} runs {program}, which is not installed"


def test_web_is_served_with_threads(app: Path) -> None:
    web = shlex.split(processes(app / "Procfile")["web"])
    assert web[:2] == ["gunicorn", "app.web:server"]
    assert "--bind" not in web  # gunicorn.conf.py has it
    assert int(option(web, "--threads")) > 1
    assert "--no-control-socket" in web


@pytest.mark.parametrize(
    ("variables", "address"),
    [
        ({}, "127.0.0.1:8050"),
        ({"HOST": "::1", "PORT": "9000"}, "[::1]:9000"),
        (PRODUCTION | {"PORT": "9000"}, "0.0.0.0:9000"),
    ],
    ids=["development", "host and port", "production"],
)
def test_web_listens_on_this_machine_alone_in_development(bake: Bake, variables: dict[str, str], address: str) -> None:
    web = shlex.split(processes(bake("blank") / "Procfile")["web"])
    environment = {name: value for name, value in os.environ.items() if name not in ("HOST", "PORT")} | variables
    command = [str(baking.PROGRAMS / web[0]), "--print-config", *web[1:]]
    shown = subprocess.check_output(command, cwd=bake("blank"), env=environment, text=True, stderr=subprocess.STDOUT)
    assert re.findall("^bind += (.*)$", shown, re.MULTILINE) == [f"['{address}']"]


def test_worker_is_the_apps_own_command(app: Path) -> None:
    assert processes(app / "Procfile")["worker"] == "python -m app worker"


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
    assert told["healthchecks"]["web"][0]["path"] == "/health"


def test_procfile_of_the_kit_runs_the_demo(bake: Bake) -> None:
    demo = processes(bake("portfolio") / "Procfile")
    assert processes(baking.KIT / "Procfile") == {name: f"cd {DEMO} && {command}" for name, command in demo.items()}


def processes(procfile: Path) -> dict[str, str]:
    return dict(parse_procfile(procfile.read_text()).processes)


def option(command: list[str], name: str) -> str:
    return command[command.index(name) + 1]
