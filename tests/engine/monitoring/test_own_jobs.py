"""Tests of the news of a person's own jobs: which are active, and which ends they are told of."""

from huey.api import chord

from jobqueue import DurableHuey
from jobqueue.execution.current_job import CurrentJob, working_for
from jobqueue.monitoring.own_jobs import NEWEST, news
from tests.engine.conftest import HueyFactory
from tests.engine.consumers import work


class Ann(CurrentJob):
    """The context of a request of Ann's."""

    owner = "ann"


def told(huey: DurableHuey, owner: str = "ann", within_s: float = 60) -> list[tuple[str, str]]:
    found = news(huey.ledger.database, owner, within_s)
    return [(row["task"].rpartition(".")[2], row["state"]) for row in found.ended]


def test_owner_is_told_of_their_own_ends_alone_and_of_each_end_again_after_a_retry(make_huey: HueyFactory) -> None:
    huey = make_huey()
    chances = [0, 1]

    @huey.task()
    def divide() -> float:
        return 1 / chances.pop(0)

    job, later = divide.using(owner="ann")(), divide.using(owner="ann").schedule(delay=3600)
    divide.using(owner="ben").schedule(delay=3600)
    assert news(huey.ledger.database, "ann", 60).active == 1  # the one that waits an hour is not
    work(huey)
    assert told(huey) == [("divide", "failed")] and told(huey, "ben") == []
    (first,) = news(huey.ledger.database, "ann", 60).ended
    assert first["id"] == job.id and 0 <= first["age_s"] < 60
    assert told(huey, within_s=0) == []
    job.retry()
    work(huey)
    (second,) = news(huey.ledger.database, [job.id, later.id], 60).ended
    assert second["state"] == "succeeded" and second["ended_at"] > first["ended_at"]
    later.cancel()
    assert told(huey) == [("divide", "succeeded"), ("divide", "cancelled")]


def test_attempt_that_is_retried_by_itself_is_no_end(make_huey: HueyFactory) -> None:
    huey = make_huey()
    chances = [0, 1]
    divide = huey.task(retries=1, name="divide")(lambda: 1 / chances.pop(0))
    divide.using(owner="ann")()
    task = huey.dequeue()
    huey.execute(task)
    assert told(huey) == [] and news(huey.ledger.database, "ann", 60).active == 1
    work(huey)
    assert told(huey) == [("divide", "succeeded")]


def test_members_of_a_chord_and_jobs_that_did_not_run_tell_nothing_of_their_own(make_huey: HueyFactory) -> None:
    huey = make_huey()
    one, total = huey.task(name="one")(lambda: 1), huey.task(name="total")(sum)
    fail = huey.task(name="fail")(lambda: 1 / 0)
    with working_for(Ann()):
        huey.enqueue(chord([one.s(), one.s()], total.s()))
        huey.enqueue(chord([huey.task(name="alone")(lambda: 1).s()], total.s()))
        huey.enqueue(fail.s().then(one))
    work(huey)
    assert sorted(told(huey)) == [("alone", "succeeded"), ("fail", "failed"), *[("total", "succeeded")] * 2]


def test_handle_of_a_shared_run_tells_its_own_owner(make_huey: HueyFactory) -> None:
    huey = make_huey()
    shared = huey.task(unique=True, name="shared")(lambda: 1)
    shared.using(owner="ann")(), shared.using(owner="ben")().cancel()
    assert told(huey, "ben") == [("shared", "cancelled")]
    work(huey)
    assert told(huey, "ann") == [("shared", "succeeded")]


def test_only_the_newest_jobs_of_an_owner_are_read(make_huey: HueyFactory) -> None:
    huey = make_huey()
    nothing = huey.task(name="nothing")(lambda: None)
    for _ in range(NEWEST + 1):
        nothing.using(owner="ann").schedule(delay=1)
    assert news(huey.ledger.database, "ann", 60).active == NEWEST
