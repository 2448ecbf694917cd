"""Tests of code with a newer schema that starts beside old code: it migrates once, and both keep working."""

import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

import jobqueue
from jobqueue import DurableHuey, State
from jobqueue.database import migrations
from jobqueue.jobs.handle import JobHandle
from tests.engine.consumers import start_at_once, wait_until
from tests.faults.conftest import KIT, StartConsumer, steadily
from tests.storages import Storage

STARTERS = 8  # processes that start at the same moment
NEWER = f"""
import os
import sqlalchemy as sa
from alembic import op

revision, down_revision = "newer", {migrations.HEAD!r}

def upgrade():
    with open(os.environ["MIGRATED"], "a") as file:
        file.write("once\\n")
    op.add_column("jobs", sa.Column("colour", sa.Text, nullable=False, server_default="none"))
    op.create_index("jobs_of_colour", "jobs", ["colour", "seq"])
"""


@pytest.fixture
def newer(tmp_path: Path) -> dict[str, str]:
    """Return environment variables of processes whose code has one more revision."""
    code = tmp_path / "newer"
    package = code / "jobqueue"
    shutil.copytree(Path(jobqueue.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    (package / "database" / "migrations" / "versions" / "newer.py").write_text(NEWER)
    history = package / "database" / "migrations" / "__init__.py"
    history.write_text(history.read_text().replace(f'HEAD = "{migrations.HEAD}"', 'HEAD = "newer"'))
    return {"PYTHONPATH": f"{code}{os.pathsep}{KIT}", "MIGRATED": str(tmp_path / "migrated.txt")}


def test_old_processes_keep_working_while_a_newer_consumer_migrates(
    huey: DurableHuey, start: StartConsumer, tasks: SimpleNamespace, newer: dict[str, str], tmp_path: Path
) -> None:
    handles: list[JobHandle] = []

    def visit() -> None:
        """Submit a job, and read what pages read."""
        handles.append(tasks.quick(len(handles)))
        assert handles[-1].get_job().state in State
        assert huey.jobs(limit=3)
        assert huey.ledger.consumers.all()

    def consumers_of(jobs: list[JobHandle]) -> set[str]:
        return {row["consumer"] for job in jobs if (row := huey.ledger.reading.job(job.id)) and row["consumer"]}

    start(workers=2)
    with steadily(visit, 0.02):
        wait_until(lambda: len(handles) >= 20)  # by then each connection has prepared its statements
        start(workers=2, environ=newer)
        before = len(handles)
        wait_until(lambda: len(handles) > before + 20 and len(consumers_of(handles[before:])) == 2)
    assert [handle.get(blocking=True, timeout=10) for handle in handles] == list(range(len(handles)))
    assert {(job.state, job.attempt) for job in huey.jobs(limit=len(handles))} == {(State.SUCCEEDED, 1)}
    assert revision(huey) == "newer"
    log = (tmp_path / "consumer.log").read_text()
    assert not [word for word in (" ERROR ", "Traceback", "cannot reach its database", "Cannot claim") if word in log]
    print(f"{before} jobs before the migration, {len(handles) - before} after it")


START = """
import json
from tests.faults.fault_jobs import tasks_on
def start(storage):
    tasks = tasks_on(jobqueue.DurableHuey("faults", **json.loads(storage), secret_key="a key for tests"))
    return tasks.quick("started").id
"""


def test_many_newer_processes_migrate_once_beside_an_old_consumer(
    huey: DurableHuey,
    start: StartConsumer,
    tasks: SimpleNamespace,
    newer: dict[str, str],
    storage: Storage,
) -> None:
    start(workers=2)
    handles: list[JobHandle] = []
    with steadily(lambda: handles.append(tasks.quick("visited")), 0.02):
        wait_until(lambda: len(handles) >= 10)
        ids = start_at_once(STARTERS, START, json.dumps(storage._asdict()), **newer)
    assert len(Path(newer["MIGRATED"]).read_text().splitlines()) == 1
    assert revision(huey) == "newer"
    assert [huey.job(job_id).get(blocking=True, timeout=10) for job_id in ids] == ["started"] * STARTERS
    assert {handle.get(blocking=True, timeout=10) for handle in handles} == {"visited"}


def revision(huey: DurableHuey) -> str:
    with huey.ledger.database.statement() as tx:
        (row,) = tx.all("SELECT version_num FROM alembic_version")
    return str(row["version_num"])
