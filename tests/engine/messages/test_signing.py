"""Only signed messages are unpickled. The development key is created once, and only its owner can read it."""

import copyreg
import pickle
import stat
from pathlib import Path
from typing import Any

import pytest
import tblib.pickling_support

import jobqueue
from jobqueue import DurableHuey, JobNotFound, State
from jobqueue.messages.signing import MOVED, development_key
from tests.engine.conftest import HueyFactory
from tests.engine.consumers import start_at_once, work

STARTERS = 16  # processes that start at the same moment


class Bomb:
    """An object that leaves a file behind if it is unpickled."""

    def __reduce__(self) -> Any:
        return (Path("bomb went off").touch, ())


def test_an_unsigned_pickle_is_not_loaded(huey: DurableHuey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    bomb = pickle.dumps(Bomb())
    for message in (bomb, bomb + b":" + b"0" * 40, bomb + b":"):
        with pytest.raises(ValueError, match="signature does not verify"):
            huey.serializer.deserialize(message)
    assert not Path("bomb went off").exists()


def test_a_compressed_message_is_read_and_verified_like_any_other(make_huey: HueyFactory) -> None:
    huey, rotated = make_huey(secret_key="old"), make_huey(secret_key="new", secret_key_fallbacks=["old"])
    message = huey.serializer.serialize(["words"] * 10_000)
    short = huey.serializer.compressed(message)
    assert len(short) < len(message) / 10
    assert huey.serializer.deserialize(short) == rotated.serializer.deserialize(short) == ["words"] * 10_000
    with pytest.raises(ValueError, match="signature does not verify"):
        huey.serializer.deserialize(short[:100] + b"." + short[101:])


def test_a_job_signed_with_another_key_fails_with_an_error_that_names_the_setting(make_huey: HueyFactory) -> None:
    handle = make_huey(secret_key="one").task(name="task")(lambda: 1)()
    worker = make_huey(secret_key="two")
    worker.task(name="task")(lambda: 1)
    work(worker)
    job = worker.get_job(handle.id)
    assert job.state is State.FAILED
    assert "SECRET_KEY" in job.error


def test_a_key_is_rotated_while_jobs_signed_with_the_old_one_are_queued(make_huey: HueyFactory) -> None:
    ran: list[int] = []
    make_huey(secret_key="old").task(name="task")(ran.append)(1)
    rotated = make_huey(secret_key="new", secret_key_fallbacks=["older", "old"])
    task = rotated.task(name="task")(ran.append)
    task(2)
    assert sorted(job.args for job in rotated.jobs()) == [(1,), (2,)]
    work(rotated)
    assert ran == [1, 2]
    only_new = make_huey(secret_key="new")
    only_new.task(name="task")(ran.append)
    task(3)
    work(only_new)
    assert ran == [1, 2, 3]  # signed with the new key


def written_by_an_earlier_version(huey: DurableHuey, pickled: bytes) -> bytes:
    """Return a signed message, as another version of the engine would have pickled it."""
    signed: bytes = huey.serializer._signers[0]._sign(pickled)
    return signed


@pytest.mark.parametrize(("module", "name"), MOVED)
@pytest.mark.parametrize("storage", ["sqlite"], indirect=True)
def test_a_class_that_moved_is_found_in_messages_of_earlier_versions(huey: DurableHuey, module: str, name: str) -> None:
    loaded = huey.serializer.deserialize(written_by_an_earlier_version(huey, f"c{module}\n{name}\n.".encode()))
    assert loaded.__name__ == name


@pytest.mark.parametrize("storage", ["sqlite"], indirect=True)
def test_a_value_of_a_class_that_moved_is_read_as_it_was_written(huey: DurableHuey) -> None:
    pickled = b"cjobqueue.ledger\nState\n(S'failed'\ntR."
    assert huey.serializer.deserialize(written_by_an_earlier_version(huey, pickled)) is State.FAILED


def test_values_of_public_classes_are_pickled_under_names_that_every_version_has() -> None:
    public = [value for name in jobqueue.__all__ if isinstance(value := getattr(jobqueue, name), type)]
    assert len(public) > 20
    assert {value.__module__ for value in public} == {"jobqueue"}
    assert b"jobqueue.ledger" not in pickle.dumps(State.FAILED)
    assert pickle.loads(pickle.dumps([State.FAILED, JobNotFound("No job.")]))[0] is State.FAILED


def test_an_exception_is_stored_without_its_context_after_dask_was_imported(huey: DurableHuey) -> None:
    """Test tblib, which Dask imports: it registers all exceptions, so that they are pickled with their context."""

    class Local(Exception):
        pass

    try:
        try:
            raise Local
        except Local:
            raise LookupError("gone")  # noqa: B904 - with a context that cannot be pickled
    except LookupError as error:
        stored = error
    registered = dict(copyreg.dispatch_table)
    tblib.pickling_support.install()
    try:
        with pytest.raises(Exception, match="pickle local object"):
            pickle.dumps(stored)
        message = huey.serializer.serialize(stored)
    finally:
        for kind in copyreg.dispatch_table.keys() - registered.keys():
            del copyreg.dispatch_table[kind]
    assert b"tblib" not in message and b"Local" not in message
    assert huey.serializer.deserialize(message).args == ("gone",)


def test_a_key_from_the_settings_writes_no_file(huey: DurableHuey, tmp_path: Path) -> None:
    huey.task(name="task")(lambda: 1)()
    assert not list(tmp_path.rglob("secret_key*"))


def test_without_a_key_one_is_created_beside_the_ledger_that_only_its_owner_can_read(
    make_huey: HueyFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # with a database server, the key is in the working directory
    task = make_huey(secret_key=None).task(name="task")(lambda: 1)
    assert not list(tmp_path.rglob("secret_key*"))  # not before it is needed
    handle = task()
    (key,) = tmp_path.rglob("secret_key*")
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert len(key.read_text()) >= 32
    worker = make_huey(secret_key=None)
    worker.task(name="task")(lambda: 1)
    work(worker)
    assert handle() == 1


START = """
from pathlib import Path
from jobqueue.messages.signing import development_key
def start(path): return development_key(Path(path))
"""


def test_many_processes_that_start_at_once_create_one_development_key(tmp_path: Path) -> None:
    path = tmp_path / "var" / "secret_key"
    keys = start_at_once(STARTERS, START, path)
    assert keys == [development_key(path)] * STARTERS
    assert [file.name for file in path.parent.iterdir()] == ["secret_key"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_keys_derived_for_other_purposes_differ_and_rotate_with_those_of_jobs() -> None:
    ring = DurableHuey("tests", "sqlite://", secret_key="two", secret_key_fallbacks=["one"]).serializer
    before = DurableHuey("tests", "sqlite://", secret_key="one").serializer
    assert ring.derived("sessions")[1:] == before.derived("sessions")
    assert len({*ring.derived("sessions"), *ring.derived("links"), "one", "two"}) == 6
