"""The plan of connections: a deploy runs the old and the new release side by side."""

import pytest

from jobqueue.database import postgres
from jobqueue.monitoring import connections
from jobqueue.monitoring.connections import SPARE, ConnectionPlan


@pytest.mark.parametrize("listens", [True, False])
@pytest.mark.parametrize("most", [20, 40, 97])
def test_the_workers_that_are_named_are_the_most_that_fit(most: int, listens: bool) -> None:
    fitting = ConnectionPlan(0, most, 1, listens).fitting_workers
    fits, too_many = (ConnectionPlan(0, most, workers, listens) for workers in (fitting, fitting + 1))
    assert fits.deploy + SPARE <= most < too_many.deploy + SPARE
    assert fits.advice == "" and too_many.advice.startswith(f"Set WORKERS to {fitting},")


@pytest.mark.parametrize("listens", [True, False])
def test_a_consumer_is_refused_only_if_it_does_not_fit_alone(listens: bool) -> None:
    most = 97
    alone = most - (2 if listens else 1)
    assert ConnectionPlan(0, most, alone, listens).refusal == ""
    fitting = ConnectionPlan(0, most, alone, listens).fitting_workers
    assert f"--workers {fitting} " in ConnectionPlan(0, most, alone + 1, listens).refusal


def test_a_database_that_is_too_small_for_any_worker_is_named() -> None:
    assert "WORKERS=1" in ConnectionPlan(0, 8, 1, True).advice
    assert ConnectionPlan(0, 3, 1, True).refusal == ""
    assert ". Use a database with more connections, or connect" in ConnectionPlan(0, 2, 1, True).refusal


def test_a_web_process_opens_as_many_as_are_planned() -> None:
    assert connections.WEB == postgres.CONNECTIONS
