"""The commands of docs/deploy.md that back up and restore: the jobs that waited or ran in the backup go on."""

import os
import re
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from jobqueue import DurableHuey, State
from tests import baking
from tests.baking import Bake
from tests.deploy.web_process import KEY
from tests.engine.consumers import consumer_process, wait_until
from tests.servers import PROGRAMS, fresh_database, shared_postgres

pytestmark = pytest.mark.long

COMMANDS = re.findall(r"^pg_\w+ .*$", baking.KIT.joinpath("docs/deploy.md").read_text(), re.MULTILINE)
SUBMIT = """
import sys
from app.jobs.hello import greet
for name in ("Ann", "Ben", "Cy"):
    print(greet(name, 3).id)
"""


def test_jobs_of_a_backup_go_on_where_it_is_restored(bake: Bake, shared: Path, tmp_path: Path) -> None:
    backup, restore = COMMANDS
    server = shared_postgres(shared)
    with fresh_database(server) as old, fresh_database(server) as new, ExitStack() as stack:
        run = [sys.executable, "-c", SUBMIT]
        settings = os.environ | {"SECRET_KEY": KEY, "WORKERS": "1", "LEASE": "2", "DATABASE_URL": old}
        ids = subprocess.check_output(run, cwd=bake("blank"), env=settings, text=True).split()
        before, after = (DurableHuey("blank", url, secret_key=KEY) for url in (old, new))
        stack.callback(before.storage.close)
        stack.callback(after.storage.close)

        worker = ["-m", "app", "worker"]
        with consumer_process(worker, tmp_path / "old", env=settings, cwd=bake("blank")):
            wait_until(lambda: before.get_job(ids[0]).state is State.RUNNING)
            shell(backup, tmp_path, DATABASE_URL=old)
            shell(restore, tmp_path, NEW_DATABASE_URL=new)
        assert [after.get_job(job).state for job in ids] == [State.RUNNING, State.QUEUED, State.QUEUED]

        stack.enter_context(
            consumer_process(
                worker, tmp_path / "new", env=settings | {"DATABASE_URL": new, "WORKERS": "3"}, cwd=bake("blank")
            )
        )
        wait_until(lambda: all(after.get_job(job).state is State.SUCCEEDED for job in ids), 30)
        assert [after.result(job) for job in ids] == ["Hello, Ann!", "Hello, Ben!", "Hello, Cy!"]
        assert [after.get_job(job).losses for job in ids] == [1, 0, 0]


def shell(command: str, folder: Path, **variables: str) -> None:
    """Run a line of the docs."""
    path = os.pathsep.join([str(PROGRAMS), os.environ["PATH"]])
    subprocess.run(command, shell=True, cwd=folder, env=os.environ | {"PATH": path, **variables}, check=True)
