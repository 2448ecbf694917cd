"""`/metrics`: who may read it, that it agrees with the ledger, and what a look costs."""

from collections import Counter
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from werkzeug.test import Client

from jobqueue import DurableHuey, State
from jobqueue.database.database import DatabaseUnavailable
from jobqueue.telemetry import metrics
from jobqueue.telemetry.metrics import MetricsAddress
from tests.engine.consumers import wait_until
from tests.engine.telemetry.conftest import StartConsumer

TOKEN = {"Authorization": "Bearer a token"}
Samples = dict[str, dict[tuple[str, ...], float]]


def page(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [])
    return [b"a page"]


def scraped(huey: DurableHuey) -> Samples:
    """Return each sample's value by its name and its labels' values, in the order of the labels' names."""
    answer = Client(MetricsAddress(page, huey, "a token")).get("/metrics", headers=TOKEN)
    assert answer.status_code == 200
    found: Samples = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(value for _, value in sorted(sample.labels.items()))] = sample.value
    return found


@pytest.mark.parametrize("storage", ["sqlite"], indirect=True)
def test_only_the_token_reads_metrics(huey: DurableHuey) -> None:
    client = Client(MetricsAddress(page, huey, "a token"))
    for wrong in ("", "Bearer", "Bearer another", "Basic a token", "a token", "Bearer a token\xff"):
        refused = client.get("/metrics", headers={"Authorization": wrong})
        assert (refused.status_code, refused.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert client.get("/metrics", headers=TOKEN).status_code == 200
    assert client.get("/jobs").text == "a page"
    for given in ({}, TOKEN, {"Authorization": "Bearer "}):
        assert Client(MetricsAddress(page, huey, None)).get("/metrics", headers=given).status_code == 404


@pytest.mark.parametrize("storage", ["sqlite"], indirect=True)
def test_many_scrapes_cause_one_look_of_three_statements(
    huey: DurableHuey, statements: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    huey.migrate()
    client = Client(MetricsAddress(page, huey, "a token"))
    del statements[:]
    assert {client.get("/metrics", headers=TOKEN).status_code for _ in range(20)} == {200}
    assert len(statements) == 3
    monkeypatch.setattr(metrics, "KEPT", 0.0)
    client.get("/metrics", headers=TOKEN)
    assert len(statements) == 6


@pytest.mark.parametrize("storage", ["sqlite"], indirect=True)
def test_metrics_are_unavailable_while_the_database_is(huey: DurableHuey, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []

    def unreachable(*_: Any) -> None:
        looks.append(1)
        raise DatabaseUnavailable("postgresql://ann:a-password@host/name: gone")

    monkeypatch.setattr(metrics, "snapshot", unreachable)
    client = Client(MetricsAddress(page, huey, "a token"))
    for _ in range(3):
        answer = client.get("/metrics", headers=TOKEN)
        assert (answer.status_code, answer.text) == (503, "The database does not answer.\n")
    assert len(looks) == 1


AT_THE_END = {"jobqueue_jobs": "NULL", "jobqueue_ended_jobs": "NOT NULL"}  # ended_at


@pytest.mark.long
def test_metrics_agree_with_the_ledger_after_jobs_of_all_outcomes(module: Any, start_consumer: StartConsumer) -> None:
    """End 502 jobs in every way, and look while others are in each state before the end. Nine workers die on the way."""
    huey: DurableHuey = module.huey
    submitted = {
        module.greet: 240, module.fail: 230, module.fail_once: 10, module.take_too_long: 3, module.die_once: 3, module.die: 2
    }  # fmt: skip
    huey.enqueue_many([task.s(str(n)) for task, count in submitted.items() for n in range(count)])
    for n in range(10):
        module.greet.schedule((str(n),), delay=9999).cancel()
        module.greet.schedule((str(n),), delay=9999)
    huey.enqueue(module.fail.s("Ann").then(module.greet).then(module.greet))
    with start_consumer():
        wait_until(lambda: count(huey, "ended_at IS NOT NULL") == 501, timeout=120)
        cancelled = module.hold()
        wait_until(lambda: cancelled.state is State.RUNNING)
        cancelled.cancel()
        held = [*huey.enqueue(module.hold.s().then(module.greet)), module.hold()]
        wait_until(lambda: count(huey, "state = 'running'") == 2)
        huey.enqueue_many([module.greet.s(str(n)) for n in range(4)])
        wait_until(lambda: sum(scraped(huey)["jobqueue_busy_workers"].values()) == 2)
        seen = scraped(huey)
        expected = {name: ledger(huey, f"ended_at IS {end}") for name, end in AT_THE_END.items()}
        for handle in held:
            handle.cancel()  # or the consumer would wait for it when it stops
    assert {name: seen[name] for name in expected} == expected
    assert of_states(seen["jobqueue_ended_jobs"]) == {"succeeded": 253, "failed": 236, "cancelled": 13}
    assert of_states(seen["jobqueue_jobs"]) == {"scheduled": 10, "waiting": 1, "running": 2, "queued": 4}
    assert seen["jobqueue_lost_attempts"] == {
        ("heavy", "queue_to_watch.die_once"): 3, ("heavy", "queue_to_watch.die"): 6
    }  # fmt: skip
    assert sum(seen["jobqueue_workers"].values()) == 2
    assert seen["jobqueue_window_seconds"] == {(): 300}
    ran = {task: count for (bound, task), count in seen["jobqueue_run_seconds_bucket"].items() if bound == "+Inf"}
    assert ran == {
        f"queue_to_watch.{task}": count
        for task, count in {
            "greet": 240, "fail": 231, "fail_once": 10, "take_too_long": 3, "die_once": 3, "die": 2, "hold": 1
        }.items()
    }  # fmt: skip


def of_states(jobs: dict[tuple[str, ...], float]) -> dict[str, int]:
    """Return the sum of each state's jobs."""
    found = Counter[str]()
    for (_, state, _), number in jobs.items():
        found[state] += int(number)
    return dict(found)


def count(huey: DurableHuey, condition: str) -> float:
    return sum(ledger(huey, condition).values())


def ledger(huey: DurableHuey, condition: str) -> dict[tuple[str, ...], float]:
    """Return the number of jobs by queue, state and task, which is the order of the labels' names."""
    with huey.ledger.database.statement() as tx:
        rows = tx.all(
            f"SELECT state, queue, task, count(*) AS n FROM jobs WHERE {condition} GROUP BY state, queue, task"
        )
    return {(row["queue"], row["state"], row["task"]): row["n"] for row in rows}


def test_metrics_name_waits_fires_and_datasets(huey: DurableHuey) -> None:
    from jobqueue import every
    from tests.engine.consumers import work

    @huey.task(queue="heavy")
    def slow() -> None: ...

    @huey.dataset(every("day at 00:00"))
    def prices() -> list[int]:
        return [1]

    prices.refresh()
    work(huey)
    slow()
    with huey.ledger.database.transaction() as tx:
        tx.run("UPDATE jobs SET queued_at = queued_at - 60, due_at = created_at - 2 WHERE state = 'queued'")
        tx.run(
            "INSERT INTO schedules (name, phrase, watermark, note, last_due, last_job) "
            "SELECT 'app.beat', 'every second', NOW, '', NOW - 7, id FROM jobs WHERE state = 'queued'"
        )
    seen = scraped(huey)
    (waited,) = seen["jobqueue_oldest_wait_seconds"].values()
    assert 60 <= waited < 90
    assert list(seen["jobqueue_fires"].values()) == [1]
    assert 1.9 < seen["jobqueue_fire_lateness_seconds"]["app.beat",] < 2.1
    assert 7 <= seen["jobqueue_last_fire_age_seconds"]["app.beat",] < 30
    (age,) = seen["jobqueue_dataset_age_seconds"].values()
    assert 0 <= age < 30
    on_postgres = huey.ledger.database.pooling == "direct"
    assert ("jobqueue_connections" in seen) is on_postgres
