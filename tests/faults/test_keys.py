"""Tests that forged messages are not unpickled, and that a rotation of the secret key loses no job."""

import json
import os
import pickle
import signal
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from huey import chord
from huey.exceptions import TaskException
from huey.serializer import SignedSerializer
from huey.utils import Error

from jobqueue import DurableHuey, State
from jobqueue.jobs.handle import JobHandle
from jobqueue.jobs.job import Unreadable
from tests.engine.consumers import ConsumerProcess, consumer_process, environment, wait_until
from tests.faults.conftest import KIT, StartConsumer, steadily
from tests.storages import Storage

WAIT = 3.0  # seconds until the jobs are due


class Bomb:
    """An object that must never be unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path(self.path).touch, ())


# Forgery -> a function that makes it from a job's message and a pickle bomb.
MESSAGES: dict[str, Callable[[bytes, bytes], bytes]] = {
    "a bomb": lambda message, bomb: bomb,
    "a bomb under the signature of another message": lambda message, bomb: bomb + b":" + message.rpartition(b":")[2],
    "a bomb signed with another key": lambda message, bomb: SignedSerializer("another")._sign(bomb),
    "without its signature": lambda message, bomb: message.rpartition(b":")[0],
    "without its last byte": lambda message, bomb: message[:-1],
    "half of it": lambda message, bomb: message[: len(message) // 2],
    "with a bit changed": lambda message, bomb: bytes([message[0] ^ 1]) + message[1:],
    "nothing": lambda message, bomb: b"",
    "garbage": lambda message, bomb: os.urandom(300),
    "garbage with a separator": lambda message, bomb: os.urandom(300) + b":" + os.urandom(40),
}


@pytest.mark.promise
def test_job_with_a_forged_message_fails_and_nothing_is_unpickled(
    huey: DurableHuey, start: StartConsumer, tasks: SimpleNamespace, path: str, tmp_path: Path
) -> None:
    consumer = start(workers=2)
    workers = consumer.worker_pids()
    off = tmp_path / "went off"
    bomb = pickle.dumps(Bomb(off))
    pickle.loads(bomb)
    off.unlink()  # the bomb works
    others: list[JobHandle] = []
    with steadily(lambda: others.append(tasks.quick("other")), 0.05):
        pipelines = [huey.enqueue(tasks.quick.s(1, delay=WAIT).then(tasks.quick)) for _ in MESSAGES]
        members = [tasks.quick.s(2, delay=WAIT) for _ in MESSAGES]
        callback = huey.enqueue(chord([*members, tasks.quick.s(3)], tasks.collect.s(path)))
        wrong = [*(first.id for first, _ in pipelines), *(member.id for member in members)]
        with huey.ledger.database.transaction() as tx:
            for job_id, change in zip(wrong, [*MESSAGES.values()] * 2, strict=True):
                (row,) = tx.all("SELECT message FROM jobs WHERE id = :id AND state = 'scheduled'", id=job_id)
                tx.run("UPDATE jobs SET message = :new WHERE id = :id", new=change(row["message"], bomb), id=job_id)
        assert callback.get(blocking=True, timeout=10) == [Error.__name__] * len(MESSAGES) + [3]
        for _, follower in pipelines:
            with pytest.raises(TaskException, match="signature does not verify"):
                follower.get(blocking=True, timeout=10)
            assert follower.state is State.CANCELLED
    for job in map(huey.get_job, wrong):
        assert (job.state, job.attempt) == (State.FAILED, 1)
        assert job.error.startswith(
            "The job's message cannot be read, so it did not run: The signature does not verify"
        )
    assert {handle.get(blocking=True, timeout=10) for handle in others} == {"other"}
    assert not off.exists()
    assert consumer.worker_pids() == workers


Keys = dict[str, Any]

OLD: Keys = {"secret_key": "old"}
BOTH: Keys = {"secret_key": "old", "secret_key_fallbacks": ["new"]}
NEW: Keys = {"secret_key": "new", "secret_key_fallbacks": ["old"]}

ANOTHER_ORDER = "two deploys, the consumers first"

# Rotation -> the keys of each deploy, and the order in which its processes restart. If there is one deploy, consumers
# that know only the old key must get no message signed with the new one. So the web process restarts last, and no job
# submits another one.
ROTATIONS: dict[str, tuple[list[Keys], list[str]]] = {
    "two deploys, the web first": ([BOTH, NEW], ["web", "consumer", "consumer"]),
    ANOTHER_ORDER: ([BOTH, NEW], ["consumer", "consumer", "web"]),
    "one deploy, the consumers first": ([NEW], ["consumer", "consumer", "web"]),
}

WEB = """
import json, sys, time
from jobqueue import DurableHuey
from tests.faults.fault_jobs import tasks_on
settings, path, within = json.loads(sys.argv[1])
tasks = tasks_on(huey := DurableHuey("faults", **settings))
while True:
    handles = [tasks.quick(1), tasks.fails_at_first(), tasks.quick.schedule((2,), delay=2), tasks.errand(path, 0, 5, 0.4)]
    handles += huey.enqueue(tasks.quick.s(3).then(tasks.quick))
    if within:
        handles.append(tasks.submits(4))
    print(*[handle.id for handle in handles], sep="\\n", flush=True)
    time.sleep(0.6)  # often enough that each consumer gets errands
"""


@pytest.mark.parametrize("storage", ["sqlite"], indirect=True)  # messages are signed before any database has them
@pytest.mark.parametrize(
    "rotation", [pytest.param(name, marks=pytest.mark.long if name == ANOTHER_ORDER else ()) for name in ROTATIONS]
)
def test_secret_key_is_rotated_without_losing_a_job(
    huey: DurableHuey, storage: Storage, start: StartConsumer, path: str, tmp_path: Path, rotation: str
) -> None:
    deploys, order = ROTATIONS[rotation]
    outputs: list[Path] = []

    def start_web(keys: Keys) -> ConsumerProcess:
        output = tmp_path / f"web {len(outputs)}.txt"
        outputs.append(output)
        arguments = json.dumps([storage._asdict() | keys, path, len(deploys) > 1])
        web = stack.enter_context(
            consumer_process(["-c", WEB, arguments], log=output, env=environment(KIT), cwd=tmp_path)
        )
        wait_until(output.read_text)
        return web

    def start_consumer(keys: Keys) -> ConsumerProcess:
        return start(workers=2, grace_s=0.3, **keys)

    with ExitStack() as stack:
        running = {"web": [start_web(OLD)], "consumer": [start_consumer(OLD), start_consumer(OLD)]}
        for keys in deploys:
            for what in order:
                running[what].append(start_web(keys) if what == "web" else start_consumer(keys))
                old = running[what].pop(0)
                if what == "consumer":
                    wait_until(lambda pid=old.pid: runs_an_errand(huey, pid))  # type: ignore[misc]
                old.send(signal.SIGTERM)
                assert old.wait() == (0 if what == "consumer" else -signal.SIGTERM)
        (web,) = running["web"]
        web.send(signal.SIGTERM)
        web.wait()
    ids = [job_id for output in outputs for job_id in output.read_text().split()]
    wait_until(lambda: all(job.state.ended for job in huey.jobs(limit=10_000)))
    jobs = {job.id: job for job in huey.jobs(limit=10_000)}
    assert set(ids) <= set(jobs)
    assert {(job.state, job.losses, job.error) for job in jobs.values()} == {(State.SUCCEEDED, 0, "")}
    returns = sum(job.returns for job in jobs.values())
    retries = sum(job.attempt - job.returns - 1 for job in jobs.values())
    assert returns
    assert retries
    print(f"{len(jobs)} jobs, {returns} releases, {retries} retries")
    with_new_key_alone = DurableHuey("faults", **storage._asdict(), secret_key="new")
    assert {is_read(with_new_key_alone, job_id) for job_id in ids} == {True, False}
    with_new_key_alone.storage.close()


def runs_an_errand(huey: DurableHuey, pid: int) -> bool:
    """Return whether this consumer has just begun a job that takes longer than its grace period."""
    (consumer,) = [consumer for consumer in huey.ledger.consumers.all() if consumer["pid"] == pid]
    for job in huey.jobs(state=State.RUNNING):
        row = huey.ledger.reading.job(job.id)
        if row is not None and job.name == "errand" and row["consumer"] == consumer["id"] and row["attempt"] == 1:
            return bool(consumer["seen_at"] + consumer["silent_s"] - row["claimed_at"] < 1)
    return False


def is_read(huey: DurableHuey, job_id: str) -> bool:
    try:
        huey.job(job_id).get_job().args  # noqa: B018
    except Unreadable:
        return False
    return True
