"""The first use creates the schema, exactly once even if many processes start together. Importing the package writes nothing."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.config import Config
from alembic.script import ScriptDirectory

from jobqueue import DatabaseUnavailable, DurableHuey, current_job
from jobqueue.database import Database, migrations
from tests.engine.conftest import HueyFactory
from tests.engine.consumers import environment, start_at_once, work

STARTERS = 16  # processes that start at the same moment
# The first 16 digits of the SHA-256 of each published migration. A new one gets a line here, and no line ever changes:
# databases of owners have run these files under these numbers.
PUBLISHED = {
    "0001_ledger.py": "d5c738ac2cefca7d",
    "0002_queues.py": "2d613bc3d3c6ee10",
    "0003_handles.py": "fcd64f094ca20050",
    "0004_history.py": "4610ce75db0afba1",
    "0005_schedules.py": "9b5436e6e8f14200",
    "0006_callbacks.py": "e0d354f9a9e5faf1",
    "0007_datasets.py": "1e185598b62b9a57",
    "0008_listing.py": "5a468976f5fa61c1",
    "0009_users.py": "db0068c0c542f90d",
    "0010_turns.py": "15b23d50a82fa56c",
    "0011_files.py": "aa826d2cb270fcfd",
    "0012_housekeeping.py": "2946f58d38e5d6ac",
}


def test_head_is_the_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    assert ScriptDirectory.from_config(config).get_heads() == [migrations.HEAD]


def test_no_published_migration_is_changed_or_renumbered() -> None:
    versions = Path(migrations.__file__).parent.glob("versions/*.py")
    assert {path.name: hashlib.sha256(path.read_bytes()).hexdigest()[:16] for path in versions} == PUBLISHED


@pytest.mark.empty_database
def test_the_first_use_creates_the_schema(huey: DurableHuey) -> None:
    path = huey.ledger.database.path
    assert path is None or not path.exists()
    assert huey.jobs() == []
    assert version(huey) == migrations.HEAD


@pytest.mark.empty_database
def test_migrating_twice_changes_nothing(huey: DurableHuey, make_huey: HueyFactory) -> None:
    huey.task(name="task")(lambda: 1)()
    huey.migrate()
    other = make_huey()
    other.migrate()
    assert len(other.jobs()) == 1


START = """
def start(url):
    huey = jobqueue.DurableHuey("tests", url, secret_key="a key for tests")
    return huey.task(name="task")(print)().id
"""


@pytest.mark.empty_database
def test_many_processes_that_start_at_once_create_one_schema_and_lose_no_job(huey: DurableHuey) -> None:
    ids = start_at_once(STARTERS, START, huey.database_url)
    assert {job.id for job in huey.jobs()} == set(ids)
    assert len(ids) == STARTERS
    assert version(huey) == migrations.HEAD


def test_a_schema_newer_than_this_code_is_used_without_change(huey: DurableHuey, make_huey: HueyFactory) -> None:
    huey.migrate()
    with huey.ledger.database.transaction() as tx:
        tx.run("UPDATE alembic_version SET version_num = '9999'")
        tx.run("ALTER TABLE jobs ADD COLUMN from_the_future TEXT")
    older = make_huey()
    handle = older.task(name="task")(lambda: 1)()
    work(older)
    assert handle() == 1
    assert version(older) == "9999"


@pytest.mark.parametrize("storage", ["postgres"], indirect=True)
def test_a_migration_may_wait_longer_than_other_transactions(huey: DurableHuey) -> None:
    names = ("idle_in_transaction_session_timeout", "lock_timeout", "statement_timeout")
    query = f"SELECT {', '.join(f'current_setting({name!r}) AS {name}' for name in names)}"
    database = Database(f"{huey.database_url}?options=-cstatement_timeout%3D2s")
    with database.dialect.migrating() as connection:
        assert tuple(connection.exec_driver_sql(query).one()) == ("1min", "0", "0")
    with database.statement() as tx:
        assert list((tx.one(query) or {}).values()) == ["5s", "5s", "2s"]
    database.close()


def version(huey: DurableHuey) -> str | None:
    engine = sa.create_engine(huey.database_url)
    try:
        with engine.connect() as connection:
            return migrations.version(connection)
    finally:
        engine.dispose()


IMPORT = """
import os, sys
import jobqueue
from jobqueue import DurableHuey, every
huey = DurableHuey("tests")
@huey.task()
def task(): ...
@huey.periodic_task(lambda moment: False)
def periodic(): ...
@huey.periodic_task(every("weekday at 18:00", tz="Europe/Paris"))
def by_the_clock(): ...
@huey.periodic_task(every("sunday at sunset", place=(45.5, -73.57)))
def by_the_sun(): ...
task.using(owner="ann"), jobqueue.current_job()
heavy = {"dask", "distributed", "pandas", "alembic", "cronsim", "astral", "plotly", "numpy", "pyarrow"} & set(sys.modules)
print(sorted(heavy), os.listdir())
"""


def test_importing_an_app_writes_no_file_and_imports_no_heavy_library(tmp_path: Path) -> None:
    environ = environment() | {"PYTHONDONTWRITEBYTECODE": "1"}
    run = subprocess.run(
        [sys.executable, "-c", IMPORT], cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=30
    )
    assert (run.stdout, run.stderr) == ("[] []\n", "")


def test_by_default_the_ledger_is_a_file_in_var(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    huey = DurableHuey("my-app")
    huey.task(name="task")(lambda: 1)()
    huey.storage.close()
    names = sorted(path.name for path in Path("var").iterdir())
    assert {"my-app.sqlite", "secret_key"} <= set(names)


def test_a_relative_url_means_one_file_even_if_a_task_changes_the_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    huey = DurableHuey("tests", "sqlite:///var/jobs.sqlite", secret_key="k")

    @huey.task()
    def task() -> str:
        os.chdir(tmp_path.parent)
        huey.storage.close()  # as before a fork: the next statement opens a new connection
        return current_job().step("a", str, "value")

    handle = task()
    work(huey)
    assert handle() == "value"
    huey.storage.close()
    assert (tmp_path / "var" / "jobs.sqlite").exists()


def test_a_sqlite_file_lies_in_a_folder_of_any_name() -> None:
    path = Path("/My Projects/it's/50% off #1/me@work@home/What now?/a=b?c=d&e=f/100%25/jobs.sqlite")
    assert Database(f"sqlite:///{path}").path == path
    assert Database(f"sqlite:///{path}?timeout=5&cache=shared").path == path


def test_a_sqlite_file_is_used_where_its_url_says(tmp_path: Path) -> None:
    path = tmp_path / "What now?" / "100%25" / "jobs.sqlite"
    huey = DurableHuey("tests", f"sqlite:///{path}", secret_key="k")
    assert huey.jobs() == []
    assert path.exists()
    assert huey.ledger.database.address == f"sqlite:///{path}"


def test_a_sqlite_url_with_escapes_is_refused_where_the_decoded_file_exists(tmp_path: Path) -> None:
    escaped, plain = tmp_path / "my%20jobs.sqlite", tmp_path / "my jobs.sqlite"
    plain.touch()
    with pytest.raises(ValueError, match=f"write sqlite:///{plain}$"):
        Database(f"sqlite:///{escaped}")
    escaped.touch()
    assert Database(f"sqlite:///{escaped}").path == escaped


@pytest.mark.parametrize("url", ["mysql://user:secret@host/db", "mssql+pyodbc://user:secret@host/db", "secret"])
def test_an_unsupported_database_is_refused_without_showing_the_password(url: str) -> None:
    with pytest.raises(ValueError, match="SQLite and Postgres are supported: ") as refusal:
        DurableHuey("tests", url)
    assert "secret" not in str(refusal.value)


def test_a_database_that_cannot_be_opened_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "folder.sqlite").mkdir()
    huey = DurableHuey("tests", f"sqlite:///{tmp_path}/folder.sqlite", secret_key="k")
    with pytest.raises(DatabaseUnavailable, match="folder.sqlite"):
        huey.jobs()


def test_a_file_that_is_not_a_database_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a database, but more than a hundred bytes of text. " * 9)
    huey = DurableHuey("tests", f"sqlite:///{tmp_path}/notes.txt", secret_key="k")
    with pytest.raises(DatabaseUnavailable, match="notes.txt"):
        huey.jobs()


# --- checks ---


def test_each_check_passes_or_gives_a_remedy(huey: DurableHuey) -> None:
    checks = {check.name: check for check in huey.check()}
    direct = huey.ledger.database.pooling == "direct"
    of_servers = {} if huey.ledger.database.path else {"connections" if direct else "pooler": True}
    of_servers |= {"redis": True} if huey.redis_url else {}
    assert {name: check.ok for name, check in checks.items()} == of_servers | {
        "database": True,
        "secret key": True,
        "workers": False,
    }
    assert migrations.HEAD in checks["database"].detail
    assert "worker" in checks["workers"].remedy
    huey.ledger.consumers.register("consumer", "host", 1, 2, [])
    (workers,) = [check for check in huey.check() if check.name == "workers"]
    assert workers.ok
    assert "2" in workers.detail and "host" in workers.detail


def test_the_checks_stop_at_a_database_that_does_not_answer(tmp_path: Path) -> None:
    (tmp_path / "folder.sqlite").mkdir()
    huey = DurableHuey("tests", f"sqlite:///{tmp_path}/folder.sqlite", secret_key="k")
    (check,) = huey.check()
    assert (check.name, check.ok) == ("database", False)
    assert "DATABASE_URL" in check.remedy
