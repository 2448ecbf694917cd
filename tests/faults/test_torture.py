"""A test with hundreds of jobs on two consumers whose processes are killed again and again."""

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from huey import chord
from huey.api import Task

from jobqueue import DurableHuey, State
from tests.engine.consumers import kill, wait_until
from tests.faults.conftest import StartConsumer, all_have_ended, is_sound
from tests.faults.fault_jobs import notes

KILLS = ["a worker"] * 24 + ["a consumer"] * 6
JOBS = 10  # jobs that are submitted before each kill
WORKERS = 3  # workers of each consumer
SHORTEST, LONGEST = 0.05, 0.5  # seconds that a job takes
PAUSES = 0.05, 0.4  # seconds between two kills, least and most
DRAINED = 120.0  # seconds after the last kill within which all jobs end on a busy machine

RETRIES = {"fails at first": 1, "fails": 1, "lock 1": 1000, "lock 2": 1000}  # by kind of job


@dataclass
class Batch:
    """Jobs to submit together, with their kinds and expected results."""

    tasks: SimpleNamespace
    dice: Random
    path: str
    number: int
    hows: dict[str, str] = field(default_factory=dict)
    results: dict[str, Any] = field(default_factory=dict)  # of the jobs that succeed

    def submits(self) -> Iterator[Any]:
        """Yield JOBS jobs to enqueue."""
        yield self.a_pipeline(2)
        yield self.a_nested_chord() if self.number % 2 else self.a_chord()
        for how in self.dice.choices(["", "later", *RETRIES], k=JOBS - len(self.hows)):
            yield self.job(how)

    def job(self, how: str = "", *given: Any) -> Task:
        name = f"{self.number}.{len(self.hows)}"
        self.hows[name] = how
        if how != "fails":
            self.results[name] = [name, *given]
        options = {"retries": RETRIES[how], "retry_delay": 0.1} if how in RETRIES else {}
        if how == "later":
            options["delay"] = self.dice.uniform(0, 1)
        seconds = self.dice.uniform(SHORTEST, LONGEST)
        return self.tasks.toils.s(self.path, name, seconds, how, id=name, **options)

    def value(self, member: Task) -> Any:
        """Return the value that a chord's callback gets for this job."""
        return self.results.get(member.id, "Error")

    def a_pipeline(self, length: int) -> Task:
        first = last = self.job()
        for _ in range(1, length):
            following = self.job("", self.value(last))
            first.then(following)
            last = following
        return first

    def a_chord(self) -> chord:
        members = [self.job(how) for how in ("", self.dice.choice(list(RETRIES)), "fails")]
        return chord(members, self.job("", [self.value(member) for member in members]))

    def a_nested_chord(self) -> chord:
        one, two, three = (self.job(how) for how in ("", "fails at first", ""))
        callback = self.job("", [self.value(two), self.value(three)])
        return chord([one, chord([two, three], callback)], self.job("", [self.value(one), self.value(callback)]))


@pytest.mark.long
def test_random_kills_lose_no_job_and_count_none_twice(
    huey: DurableHuey, start: StartConsumer, tasks: SimpleNamespace, path: str, dice: Random
) -> None:
    consumers = [start(workers=WORKERS, max_losses=1000) for _ in range(2)]
    kills = dice.sample(KILLS, len(KILLS))
    batches = []
    killed = 0  # workers
    for number, what in enumerate(kills):
        batches.append(batch := Batch(tasks, dice, path, number))
        for submit in batch.submits():
            huey.enqueue(submit)
        time.sleep(dice.uniform(*PAUSES))  # a random moment
        i = dice.randrange(len(consumers))
        if what == "a worker":
            kill(dice.choice(wait_until(consumers[i].worker_pids)))
            killed += 1
        else:
            consumers[i].kill_all()
            consumers[i] = start(workers=WORKERS, max_losses=1000)
            killed += WORKERS
    hows = {name: how for batch in batches for name, how in batch.hows.items()}
    results = {name: result for batch in batches for name, result in batch.results.items()}
    assert len(hows) == len(KILLS) * JOBS
    wait_until(lambda: all_have_ended(huey), DRAINED)

    jobs = {job.id: job for job in huey.jobs(limit=1000)}
    assert jobs.keys() == hows.keys()
    assert {name for name, job in jobs.items() if job.state is State.SUCCEEDED} == results.keys()
    assert {job.state for job in jobs.values()} == {State.SUCCEEDED, State.FAILED}
    assert {name: huey.result(name) for name in results} == results

    noted = [line[:-1] for line in notes(Path(path))]
    began = Counter(name for word, *_, name in noted if word == "began")
    extra = 0
    for name, job in jobs.items():
        expected = 2 if hows[name].startswith("fails") else 1
        assert expected <= began[name] <= expected + job.losses, name
        if not hows[name].startswith("lock"):  # a job with a lock also retries while another job holds it
            assert job.attempt == expected + job.losses, name
        extra += began[name] - expected
    lost = sum(job.losses for job in jobs.values())
    print(f"{killed} workers were killed: {lost} attempts were lost, {extra} ran again")
    assert extra <= lost <= killed  # each worker had at most one job
    assert {job.returns for job in jobs.values()} == {0}
    assert is_sound(huey)
    for lock in ("lock 1", "lock 2"):
        assert_one_at_a_time([(word, name) for word, *how, name in noted if " ".join(how) == lock])


def assert_one_at_a_time(noted: list[tuple[str, str]]) -> None:
    """Assert that no two attempts held a lock at the same time."""
    holder = ""
    for word, name in noted:
        assert word == "began" or name == holder
        holder = name
