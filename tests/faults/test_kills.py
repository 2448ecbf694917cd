"""Tests of SIGKILL to a worker, to a consumer's main process, and to everything, at the worst moments."""

import json
import os
import random
import signal
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from huey import chord
from huey.exceptions import TaskException
from huey.utils import Error

from jobqueue import DurableHuey, State
from tests.engine.consumers import alive, consumer_process, environment, kill, wait_until
from tests.faults.conftest import KIT, LEASE, StartConsumer, is_sound
from tests.faults.fault_jobs import notes
from tests.storages import Storage

STEPS = 12


@pytest.mark.promise
def test_killed_worker_is_replaced_and_repeats_only_the_step_in_flight(
    start: StartConsumer, tasks: SimpleNamespace, path: str
) -> None:
    start()
    handle = tasks.walk(path, STEPS, 0.15)
    in_flight: list[str] = []
    for fraction in (1 / 3, 2 / 3):
        enough = STEPS * fraction + len(in_flight)  # a step in flight is noted twice
        wait_until(lambda enough=enough: len(notes(Path(path))) >= enough)  # type: ignore[misc]
        pid = int(notes(Path(path))[-1][-1])
        kill(pid)
        killed_at = time.time()
        wait_until(lambda pid=pid: not alive(pid))  # type: ignore[misc]
        in_flight.append(notes(Path(path))[-1][0])
        attempt = len(in_flight) + 1
        wait_until(lambda attempt=attempt: handle.get_job().attempt == attempt)  # type: ignore[misc]
        assert handle.get_job().claimed_at.timestamp() - killed_at < 1
    assert handle.get(blocking=True, timeout=10) == list(range(STEPS))
    times = Counter(number for number, _ in notes(Path(path)))
    assert set(times) == {str(number) for number in range(STEPS)}
    assert {number for number, n in times.items() if n > 1} <= set(in_flight)
    job = handle.get_job()
    assert (job.attempt, job.losses, job.returns, job.error) == (3, 2, 0, "")


def test_workers_die_with_their_main_process_and_another_consumer_runs_their_jobs(
    huey: DurableHuey, start: StartConsumer, tasks: SimpleNamespace, path: str
) -> None:
    consumer = start(workers=2)
    busy = [tasks.slow_at_first(path) for _ in range(2)]
    wait_until(lambda: len(notes(Path(path))) == 2)
    waiting = [tasks.quick(i) for i in range(3)]
    workers = consumer.worker_pids()
    kill(consumer.pid)
    wait_until(lambda: not any(alive(pid) for pid in workers), timeout=1)
    assert [handle.state for handle in busy + waiting] == [State.RUNNING] * 2 + [State.QUEUED] * 3
    start()
    assert [handle.get(blocking=True, timeout=10) for handle in waiting] == [0, 1, 2]
    for handle in busy:
        assert handle.get(blocking=True, timeout=10) == 2
        assert handle.get_job().losses == 1


def test_idle_worker_dies_with_the_main_process(huey: DurableHuey, start: StartConsumer, tasks: Any) -> None:
    consumer = start(workers=2)
    workers = consumer.worker_pids()
    kill(consumer.pid)
    consumer.wait()  # before, its workers may still claim
    handle = tasks.quick(1)
    wait_until(lambda: not any(alive(pid) for pid in workers), timeout=1)
    assert handle.state is State.QUEUED


@pytest.mark.promise
def test_restart_after_killing_everything_ends_all_jobs(
    start: StartConsumer, tasks: SimpleNamespace, path: str
) -> None:
    consumer = start(workers=2)
    handle = tasks.slow_at_first(path)
    wait_until(lambda: notes(Path(path)))
    consumer.kill_all()
    meanwhile = tasks.quick(1)
    start(workers=2)
    begun = time.monotonic()
    assert meanwhile.get(blocking=True, timeout=5) == 1
    assert handle.get(blocking=True, timeout=10) == 2
    assert time.monotonic() - begun < LEASE + 5


def test_living_consumer_does_the_jobs_of_a_killed_one(start: StartConsumer, tasks: SimpleNamespace, path: str) -> None:
    consumer = start()
    handle = tasks.slow_at_first(path)
    wait_until(lambda: notes(Path(path)))
    start()
    killed_at = time.time()
    consumer.kill_all()
    assert handle.get(blocking=True, timeout=10) == 2
    job = handle.get_job()
    assert job.losses == 1
    assert job.claimed_at.timestamp() - killed_at < LEASE + 5


def test_killed_thread_consumer_loses_no_job(
    huey: DurableHuey, start: StartConsumer, tasks: SimpleNamespace, path: str
) -> None:
    consumer = start(workers=3, worker_type="thread")
    pipelines = [huey.enqueue(tasks.slow_at_first.s(path).then(tasks.quick)) for _ in range(3)]
    wait_until(lambda: len(notes(Path(path))) == 3)
    waiting = tasks.quick("waiting")
    consumer.kill_all()
    assert {handle.state for handle, _ in pipelines} == {State.RUNNING}
    start(workers=3, worker_type="thread")
    assert waiting.get(blocking=True, timeout=5) == "waiting"
    for handle, follower in pipelines:
        assert (handle.get(blocking=True, timeout=10), follower.get(blocking=True, timeout=5)) == (2, 2)
        assert (handle.get_job().losses, follower.get_job().attempt) == (1, 1)


# Way in which a task ends its worker -> pattern of the job's error
DEATHS = {
    "exit": "worker-[0-9]+, it exited with status 1.*os._exit",
    "SIGKILL": "worker-[0-9]+, it was killed.*more memory",
    "SIGSEGV": "worker-[0-9]+, it was ended by SIGSEGV.*crashed",
    "files": "worker-[0-9]+, the task closed its worker's files.*must close only files that it has opened",
}


def test_job_that_kills_three_workers_fails_as_poison(
    huey: DurableHuey, start: StartConsumer, tasks: SimpleNamespace, path: str
) -> None:
    start(workers=2)
    pipelines = [huey.enqueue(tasks.dies.s(how, path).then(tasks.quick)) for how in DEATHS]
    result = huey.enqueue(
        chord([tasks.quick.s(1), tasks.dies.s("exit", path), tasks.quick.s(3)], tasks.collect.s(path))
    )
    other = tasks.quick("other")
    assert other.get(blocking=True, timeout=10) == "other"
    assert result.get(blocking=True, timeout=10) == [1, Error.__name__, 3]
    for (first, follower), words in zip(pipelines, DEATHS.values(), strict=True):
        for handle in (first, follower):
            with pytest.raises(TaskException, match=f"died 3 times.*{words}"):
                handle.get(blocking=True, timeout=10)
        job = first.get_job()
        assert (job.state, job.attempt, job.losses, follower.state) == (State.FAILED, 3, 3, State.CANCELLED)
        assert "died 3 times" in job.error
    assert Counter(words[0] for words in notes(Path(path))) == {
        "exit": 6,
        "SIGKILL": 3,
        "SIGSEGV": 3,
        "files": 3,
        "collected": 1,
    }


def test_task_that_closes_the_standard_streams_keeps_its_worker(start: StartConsumer, tasks: SimpleNamespace) -> None:
    consumer = start(workers=1)
    workers = consumer.worker_pids()
    assert tasks.silences().get(blocking=True, timeout=10) == "silent"
    assert tasks.quick("next").get(blocking=True, timeout=10) == "next"
    assert consumer.worker_pids() == workers


# Hook or signal of Huey in which a worker dies, and whether the attempt fails -> how often the task's code runs
POINTS = {
    ("before", False): 1,
    ("signal executing", False): 1,
    ("after", False): 2,
    ("signal complete", False): 2,
    ("after", True): 2,
    ("signal error", True): 2,
}


def test_crash_around_an_end_repeats_the_attempt_but_not_what_follows(
    huey: DurableHuey, start: StartConsumer, tasks: SimpleNamespace, tmp_path: Path
) -> None:
    start()
    pipelines = {}
    for point, fails in POINTS:
        path = str(tmp_path / f"{point} {fails}.txt")
        task = tasks.crashing.s(point, fails, path).then(tasks.told, path).error(tasks.told, path)
        pipelines[point, fails, path] = huey.enqueue(task)
    wait_until(lambda: all(job.state.ended for job in huey.jobs()))
    for (point, fails, path), (first, follower) in pipelines.items():
        job = first.get_job()
        assert (job.state, job.attempt, job.losses) == (State.FAILED if fails else State.SUCCEEDED, 2, 1), point
        assert [words[0] for words in notes(Path(path))] == ["ran"] * POINTS[point, fails] + ["told"]
        assert follower.state is (State.CANCELLED if fails else State.SUCCEEDED)


SUBMITTER = """
import json, sys
from huey import chord
from jobqueue import DurableHuey
from tests.faults.fault_jobs import tasks_on
tasks = tasks_on(huey := DurableHuey("faults", **json.loads(sys.argv[1]), secret_key="a key for tests"))
while True:
    members = [tasks.quick.s(i) for i in range(20)]
    print(huey.enqueue(chord(members, tasks.collect.s("notes"))).callback.id, flush=True)
"""


def test_submits_of_a_killed_web_process_are_kept(
    huey: DurableHuey, tasks: SimpleNamespace, storage: Storage, tmp_path: Path
) -> None:
    output = tmp_path / "submitted.txt"
    command = ["-c", SUBMITTER, json.dumps(storage._asdict())]
    with consumer_process(command, output, env=environment(KIT), cwd=tmp_path) as web:
        wait_until(lambda: len(output.read_text().splitlines()) >= 10)
        kill(web.pid)
        web.wait()
    accepted = output.read_text().splitlines()
    assert {huey.job(job_id).state for job_id in accepted} == {State.WAITING}
    callbacks = len(huey.jobs(task=tasks.collect, limit=10_000))
    assert len(accepted) <= callbacks <= len(accepted) + 1
    assert len(huey.jobs(task=tasks.quick, limit=100_000)) == 20 * callbacks  # all jobs of a chord, or none


def test_chord_under_random_kills_calls_back_once_with_all_results(
    huey: DurableHuey, start: StartConsumer, tasks: SimpleNamespace, path: str, dice: random.Random
) -> None:
    consumer = start(workers=2, max_losses=1000)
    members = [tasks.member.s(i, dice.uniform(0.01, 0.2)) for i in range(30)]
    result = huey.enqueue(chord(members, tasks.collect.s(path)))
    kills = 0
    while sum(job.state is State.SUCCEEDED for job in huey.jobs(task=tasks.member)) < 27:
        pids = consumer.worker_pids()
        if pids:
            os.kill(dice.choice(pids), signal.SIGKILL)
            kills += 1
        time.sleep(dice.uniform(0.05, 0.3))  # a random moment
    assert result.get(blocking=True, timeout=10) == list(range(30))
    (callback,) = huey.jobs(task=tasks.collect)
    assert len(notes(Path(path))) <= callback.attempt
    assert {job.state for job in huey.jobs()} == {State.SUCCEEDED}
    assert kills >= 5
    assert is_sound(huey)
