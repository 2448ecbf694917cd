"""The order of claims: named queues, priorities, turns between owners, and concurrency limits."""

import secrets
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from jobqueue import DurableHuey, State
from jobqueue.ledger.ledger import Ledger
from jobqueue.ledger.limits import ConcurrencyLimits
from jobqueue.ledger.queues import parse, share_out
from jobqueue.ledger.records import ClaimRequest, NewJob, Outcome, Retry
from tests.engine.conftest import HueyFactory
from tests.engine.consumers import work
from tests.losing import mark_lost

TASKS = ["jobs.x", "jobs.y"]
MANY = 200


@pytest.fixture
def ledger(huey: DurableHuey) -> Ledger:
    return huey.ledger


def submit(ledger: Ledger, *ids: str, task: str = TASKS[0], **given: Any) -> None:
    ledger.submit([NewJob(id=job_id, task=task, message=b"", **given) for job_id in ids])


class Worker:
    """A worker that claims one job after the other. `ends` ends the last one with success."""

    def __init__(self, ledger: Ledger, queues: Sequence[str] | None = None, tasks: Sequence[str] = TASKS) -> None:
        self.ledger = ledger
        self.queues = queues
        self.tasks = tasks
        self.lately: list[str] = []
        self.held = ("", "")

    def claims(self) -> str | None:
        token = secrets.token_hex(16)
        row = self.ledger.claim(
            ClaimRequest(
                tasks=self.tasks,
                token=token,
                consumer="c",
                worker="w",
                lease_s=60,
                queues=self.queues,
                lately=self.lately,
            )
        )
        if row is None:
            return None
        self.lately = [*(queue for queue in self.lately if queue != row["queue"]), row["queue"]]
        self.held = row["id"], token
        return str(row["id"])

    def ends(self) -> None:
        self.ledger.end(*self.held, Outcome())

    def works(self) -> Iterator[str]:
        """Claim and end jobs until there are none. Yield their ids."""
        while (job_id := self.claims()) is not None:
            yield job_id
            self.ends()


# --- queues ---


def test_a_worker_claims_jobs_of_its_queues_or_of_every_queue_if_it_has_none(ledger: Ledger) -> None:
    submit(ledger, "slow", queue="heavy")
    submit(ledger, "quick", queue="interactive")
    submit(ledger, "plain")
    assert Worker(ledger, ["interactive"]).claims() == "quick"
    assert Worker(ledger, ["interactive", "reports"]).claims() is None
    assert {*Worker(ledger).works()} == {"slow", "plain"}


def test_a_worker_of_several_queues_claims_from_them_in_turns(ledger: Ledger) -> None:
    for queue in ("a", "b", "c"):
        submit(ledger, *(f"{queue}{n}" for n in range(3)), queue=queue)
    served = [job_id[0] for job_id in Worker(ledger).works()]
    assert [sorted(served[n : n + 3]) for n in (0, 3, 6)] == [["a", "b", "c"]] * 3


def test_priority_comes_before_turns_and_queues(ledger: Ledger) -> None:
    submit(ledger, "a1", "a2", queue="a")
    submit(ledger, "b1", queue="b")
    submit(ledger, "a3", queue="a", priority=1)
    assert next(worked := Worker(ledger).works()) == "a3"
    assert {*worked} == {"a1", "a2", "b1"}


def test_jobs_without_owners_are_claimed_in_the_order_of_their_submission(ledger: Ledger) -> None:
    for n in range(6):
        submit(ledger, str(n), task=TASKS[n // 2 % 2])
    assert [*Worker(ledger).works()] == ["0", "1", "2", "3", "4", "5"]


def test_a_task_has_a_queue_and_a_submit_may_choose_another(huey: DurableHuey) -> None:
    task = huey.task(queue="heavy", name="task")(lambda: None)
    plain = huey.task(name="plain")(lambda: None)
    handles = [
        task(),
        task.using(queue="interactive")(),
        task.using(queue="other").schedule(delay=60),
        *task.using(queue="each").map([()]),
        plain(),
        huey.enqueue(plain.using(queue="first").s().then(task)),
    ]
    queues = {job.queue for job in huey.jobs()}
    assert queues == {"heavy", "interactive", "other", "each", "default", "first"}
    assert [handle.get_job().queue for handle in handles[:3]] == ["heavy", "interactive", "other"]
    assert handles[1].reschedule(delay=1).get_job().queue == "interactive"


def test_a_retry_stays_in_its_queue(huey: DurableHuey) -> None:
    @huey.task(retries=1)
    def fails() -> None:
        raise ValueError

    handle = fails.using(queue="heavy")()
    worker = Worker(huey.ledger, ["heavy"], huey.messages.task_names())
    work(huey)
    assert handle.get_job().queue == "heavy"
    assert worker.claims() is None


@pytest.mark.parametrize("name", ["", "Heavy", "1st", "a b", "a,b", "a:1", "é", None, 3])
def test_an_invalid_queue_name_is_refused(huey: DurableHuey, name: Any) -> None:
    with pytest.raises(ValueError, match="is not a valid name for a queue"):
        huey.task(queue=name)(lambda: None)
    if name is not None:
        with pytest.raises(ValueError, match="is not a valid name for a queue"):
            huey.task(name="task")(lambda: None).using(queue=name)


@pytest.mark.parametrize(
    "text, workers, lists",
    [
        (None, 2, [None, None]),
        ("", 1, [None]),
        ("interactive", 2, [["interactive"]] * 2),
        ("interactive, heavy:1", 2, [["interactive", "heavy"], ["interactive"]]),
        ("a:1,b:1", 2, [["a"], ["b"]]),
        ("a:2,b:1", 3, [["a"], ["a"], ["b"]]),
        ("a:9", 2, [["a"], ["a"]]),
        (["a", "b:1"], 1, [["a", "b"]]),
    ],
)
def test_queues_are_shared_out_among_the_workers(text: Any, workers: int, lists: Any) -> None:
    assert share_out(parse(text), workers) == lists


@pytest.mark.parametrize("text", ["heavy:0", "heavy:-1", "heavy:x", "heavy:", "a,a", "Heavy", "heavy:1:2", "heavy:1"])
def test_queues_that_cannot_be_served_are_refused_with_a_full_sentence(huey: DurableHuey, text: str) -> None:
    with pytest.raises(ValueError, match=r"\.$"):
        huey.create_consumer(queues=text, workers=2)


def test_a_check_reports_a_queue_with_jobs_that_no_worker_serves(huey: DurableHuey) -> None:
    submit(huey.ledger, "job", queue="heavy")
    huey.ledger.consumers.register("consumer", "host", 1, 1, TASKS, ["default"])
    (check,) = [check for check in huey.check() if check.name == "queues"]
    assert not check.ok
    assert "heavy" in check.detail
    huey.ledger.consumers.register("another", "host", 1, 1, TASKS)
    assert "queues" not in {check.name for check in huey.check()}


def test_a_job_in_a_queue_that_no_worker_serves_waits_and_does_not_fail(ledger: Ledger) -> None:
    submit(ledger, "job", queue="heavy")
    with ledger.database.statement() as tx:
        tx.run("UPDATE jobs SET queued_at = 1")
    ledger.consumers.register("consumer", "host", 1, 1, TASKS, ["default"])
    assert ledger.housekeeping.fail_unknown(60) == []


# --- turns ---


def test_the_first_job_of_another_owner_is_next(ledger: Ledger) -> None:
    submit(ledger, *(f"ann {n}" for n in range(MANY)), owner="ann")
    worker = Worker(ledger)
    assert worker.claims() == "ann 0"
    submit(ledger, "bob 0", "bob 1", owner="bob")
    worker.ends()
    assert [job_id for job_id, _ in zip(worker.works(), range(5), strict=False)] == [
        "bob 0",
        "ann 1",
        "bob 1",
        "ann 2",
        "ann 3",
    ]


@pytest.mark.parametrize("first, second", [("ann", None), (None, "ann")])
def test_jobs_without_an_owner_take_turns_like_jobs_of_one_owner(
    ledger: Ledger, first: str | None, second: str | None
) -> None:
    submit(ledger, *(f"first {n}" for n in range(MANY)), owner=first)
    worker = Worker(ledger)
    assert worker.claims() == "first 0"
    submit(ledger, "second", owner=second)
    worker.ends()
    assert "second" in {job_id for job_id, _ in zip(worker.works(), range(2), strict=False)}


def test_owners_who_keep_submitting_single_jobs_do_not_starve_an_owner_with_many(ledger: Ledger) -> None:
    submit(ledger, *(f"ann {n}" for n in range(10)), owner="ann")
    others = ["bob", "eve", "joe"]
    worker = Worker(ledger)
    worked = []
    for owner in others:
        submit(ledger, f"{owner} 0", owner=owner)
    for n, job_id in enumerate(worker.works()):
        owner = job_id.split()[0]
        worked.append(owner)
        if owner != "ann":
            submit(ledger, f"{owner} {n + 1}", owner=owner)
        if n == 40:
            break
    shares = {owner: worked.count(owner) for owner in ["ann", *others]}
    assert shares["ann"] == 10, shares


def test_turns_are_separate_for_each_priority_and_queue(ledger: Ledger) -> None:
    submit(ledger, *(f"ann {n}" for n in range(5)), owner="ann")
    submit(ledger, "ann high", owner="ann", priority=1)
    submit(ledger, "ann elsewhere", owner="ann", queue="heavy")
    submit(ledger, "bob elsewhere", "bob elsewhere too", owner="bob", queue="heavy")
    worker = Worker(ledger, ["default"])
    assert worker.claims() == "ann high"
    submit(ledger, "bob", owner="bob")
    worker.ends()
    assert "bob" in {job_id for job_id, _ in zip(worker.works(), range(2), strict=False)}
    assert [*Worker(ledger, ["heavy"]).works()] == ["ann elsewhere", "bob elsewhere", "bob elsewhere too"]


def test_jobs_submitted_one_by_one_or_in_bulk_have_the_same_turns(ledger: Ledger) -> None:
    for n in range(3):
        submit(ledger, f"ann {n}", owner="ann")
    submit(ledger, *(f"bob {n}" for n in range(3)), owner="bob")
    assert sorted(job_id.split()[1] for job_id in Worker(ledger).works()) == ["0", "0", "1", "1", "2", "2"]


def test_a_released_job_keeps_its_turn(ledger: Ledger) -> None:
    submit(ledger, "ann 0", "ann 1", owner="ann")
    worker = Worker(ledger)
    assert worker.claims() == "ann 0"
    ledger.release("c")
    assert worker.claims() == "ann 0"


def test_a_jobs_place_is_the_number_of_jobs_claimed_before_it(ledger: Ledger) -> None:
    submit(ledger, *(f"ann {n}" for n in range(4)), owner="ann")
    submit(ledger, "bob 0", "bob 1", owner="bob", task=TASKS[1])
    submit(ledger, "urgent 0", "urgent 1", priority=1)
    submit(ledger, "elsewhere", queue="heavy")
    ids = ["urgent 0", "urgent 1", "ann 0", "bob 0", "ann 1", "bob 1", "ann 2", "ann 3"]
    places = {job_id: ledger.reading.ahead(job_id, MANY) for job_id in ids}
    order = [*Worker(ledger, ["default"]).works()]
    assert [places[job_id] for job_id in order] == [*range(len(ids))]
    assert ledger.reading.ahead("elsewhere", MANY) == 0
    assert ledger.reading.ahead("ann 0", MANY) is None


def test_a_place_is_counted_up_to_a_limit(ledger: Ledger) -> None:
    submit(ledger, *(f"{n}" for n in range(5)), priority=1)
    submit(ledger, "last", "really")
    assert [ledger.reading.ahead("really", most) for most in (3, 6, 7)] == [3, 6, 6]


# --- concurrency limits ---


@pytest.fixture
def limited(huey: DurableHuey) -> Ledger:
    """Return a ledger in which two jobs of the first task may run at once."""
    huey.limits.of_task[TASKS[0]] = 2
    return huey.ledger


def test_no_more_jobs_of_a_task_run_at_once_than_its_limit_and_others_go_on(limited: Ledger) -> None:
    submit(limited, "x1", "x2", "x3")
    submit(limited, "y1", task=TASKS[1])
    workers = [Worker(limited) for _ in range(4)]
    assert [worker.claims() for worker in workers] == ["x1", "x2", "y1", None]
    workers[0].ends()
    assert workers[3].claims() == "x3"


@pytest.mark.parametrize("how", ["lost", "given back", "retried", "cancelled"])
def test_a_place_under_a_limit_is_free_again_however_the_attempt_ends(limited: Ledger, how: str) -> None:
    submit(limited, "x1", "x2", "x3")
    first, second, third = (Worker(limited) for _ in range(3))
    assert [first.claims(), second.claims(), third.claims()] == ["x1", "x2", None]
    match how:
        case "lost":
            mark_lost(limited, *first.held, "w")
        case "given back":
            limited.release_one(*first.held)
        case "retried":
            limited.end(*first.held, Outcome(retry=Retry(delay=60, retries=0, retry_delay=0)))
        case "cancelled":
            limited.cancel("x1")
    assert third.claims() == ("x1" if how in ("lost", "given back") else "x3")


def test_no_more_jobs_of_an_owner_run_at_once_than_its_limit(make_huey: HueyFactory) -> None:
    ledger = make_huey(per_owner=1).ledger
    submit(ledger, *(f"ann {n}" for n in range(20)), owner="ann")
    submit(ledger, "ann y", task=TASKS[1], owner="ann")
    submit(ledger, "bob", owner="bob")
    submit(ledger, "nobody 1", "nobody 2")
    workers = [Worker(ledger) for _ in range(5)]
    claimed = [worker.claims() for worker in workers]
    assert set(claimed) == {"ann 0", "bob", "nobody 1", "nobody 2", None}
    workers[claimed.index("ann 0")].ends()
    assert workers[0].claims() == "ann 1"


@pytest.mark.parametrize(
    "limits", [ConcurrencyLimits(of_task={TASKS[0]: 2}), ConcurrencyLimits(per_owner=2)], ids=["task", "owner"]
)
def test_a_limit_holds_for_concurrent_claims(make_huey: HueyFactory, limits: ConcurrencyLimits) -> None:
    ledgers = [make_huey().ledger for _ in range(4)]
    submit(ledgers[0], *map(str, range(24)), owner="ann")
    running: list[int] = []
    start = threading.Barrier(len(ledgers))

    def work(ledger: Ledger) -> None:
        ledger.limits = limits
        worker = Worker(ledger)
        start.wait(10)
        while ledger.reading.count(State.QUEUED):
            if worker.claims() is not None:
                running.append(ledger.reading.count(State.RUNNING))
                worker.ends()

    with ThreadPoolExecutor(len(ledgers)) as pool:
        list(pool.map(work, ledgers))
    assert len(running) == 24
    assert max(running) <= 2


@pytest.mark.parametrize("held", [{"of_task": {TASKS[0]: 1}}, {"per_owner": 1}], ids=["task", "owner"])
def test_the_end_of_a_job_with_a_limit_notifies_the_queues_that_wait_for_it(
    huey: DurableHuey, held: dict[str, Any]
) -> None:
    ledger = huey.ledger
    ledger.limits = ConcurrencyLimits(**held)
    submit(ledger, "1", queue="heavy", owner="ann")
    submit(ledger, "2", owner="ann")
    worker = Worker(ledger, ["heavy"])
    assert worker.claims() == "1"
    notified: list[str] = []
    ledger.notify = notified.extend
    worker.ends()
    assert notified == ["default"]


@pytest.mark.parametrize("most", [0, -1, 1.5, "2", True])
def test_an_invalid_limit_is_refused(huey: DurableHuey, make_huey: HueyFactory, most: Any) -> None:
    with pytest.raises(ValueError, match="1 or more"):
        huey.task(concurrency=most)(lambda: None)
    with pytest.raises(ValueError, match="1 or more"):
        make_huey(per_owner=most)


def test_a_task_may_limit_how_many_of_its_jobs_run_at_once(huey: DurableHuey) -> None:
    task = huey.task(concurrency=1, name="task")(lambda: None)
    task(), task()
    claims = [huey.claim("c", f"w{n}") for n in range(2)]
    assert [claim is None for claim in claims] == [False, True]
    huey.execute(claims[0])
    assert huey.claim("c", "w2") is not None
