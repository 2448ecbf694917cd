"""Tests of benchmarks/capacity.py: the arithmetic, the command and the figures in docs/scaling.md.

benchmarks/capacity_runs.py compares the arithmetic with real runs.
"""

import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import capacity
from benchmarks.capacity import COSTS, DAY, LIMITS, PRUNED, Costs, Load, amounts, needs, passed, read
from benchmarks.capacity_runs import Run, Setup, fit
from jobqueue.consumer.consumer import TICK
from jobqueue.consumer.pruner import BATCH
from jobqueue.monitoring.connections import WEB, ConnectionPlan

KIT = Path(__file__).parents[2]
NONE = Costs(
    measured="for tests",
    processor_ms=dict.fromkeys(capacity.CAUSES, 0.0),
    wal_bytes={"job": 0.0},
    disk_bytes={"job": 0.0},
    queued_job_ms=1.0,
    connection=2.0,
    web_read_ms=1.0,
    job_time_ms=0.0,
    step_time_ms=0.0,
    consumer_mb=50.0,
    worker_mb=10.0,
)


def costing(**processor_ms: float) -> Costs:
    return replace(NONE, processor_ms=NONE.processor_ms | processor_ms)


def each_second(jobs: float, **shape: float) -> Load:
    return Load(jobs * DAY, **{"seconds": 1.0, "keep_jobs": 0.0, "workers_per_consumer": 5} | shape)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("load", "costs", "name", "expected"),
    [
        (each_second(7, seconds=10), NONE, "busy_workers", 70),
        (each_second(7, seconds=10, peak=3), NONE, "busy_workers", 210),
        (each_second(7, seconds=10), NONE, "workers", 100),
        (each_second(7, seconds=10), NONE, "consumers", 20),
        (each_second(7), replace(NONE, job_time_ms=500.0), "busy_workers", 10.5),
        (each_second(7, steps=5), replace(NONE, step_time_ms=100.0), "busy_workers", 10.5),
        (each_second(7, seconds=10), NONE, "connections", 100 + 20 * 2 + 2),
        (each_second(7, seconds=10, redis=True), NONE, "connections", 100 + 20 + 2),
        (each_second(7, seconds=10, users=3000), NONE, "web_processes", 5),
        (each_second(7, seconds=10, users=3000), NONE, "connections", 100 + 20 * 2 + 5 * 2),
        (each_second(100), costing(job=35.0), "processors", 5),
        (each_second(100), costing(job=35.0), "pooled", 10 + 29),
        (each_second(100, redis=True), costing(job=35.0), "processors", 5),
        (each_second(100, steps=5), costing(step=7.0), "processors", 5),
        (each_second(100, progress=9), costing(progress=7.0), "processors", 2),  # 2 writes in the second of a job
        (each_second(100, result_kb=10), costing(kilobyte=7.0), "processors", 10),
        (each_second(7, users=700), costing(read=2.0), "processors", 2),
        (each_second(100, peak=2), costing(pruned=14.0), "processors", 2),  # pruning goes on all day
        (each_second(7, seconds=10), costing(woken_consumer=15.0), "processors", 4),
        (each_second(7, seconds=10, redis=True), costing(woken_consumer=15.0), "processors", 0),
        (Load(1e6), replace(NONE, disk_bytes={"job": 2000.0}), "gigabytes", 2),  # a day: KEEP_JOBS is a million
        (Load(1e6, keep_jobs=0), replace(NONE, disk_bytes={"job": 2000.0}), "gigabytes", 60),
        (Load(1e6, keep_jobs=0, keep_days=0, peak=3), replace(NONE, disk_bytes={"job": 2000.0}), "gigabytes", 730),
        (each_second(7), replace(NONE, wal_bytes={"job": 5e6}), "wal_mb", 35),
        (each_second(7, seconds=10), NONE, "memory_gb", 20 * 0.05 + 100 * 0.01),
        (each_second(7, seconds=10, worker_mb=300), NONE, "memory_gb", 20 * 0.05 + 100 * 0.3),
    ],
)  # fmt: skip
def test_needs_of_a_load(load: Load, costs: Costs, name: str, expected: float) -> None:
    assert getattr(needs(load, costs), name) == pytest.approx(expected)


def test_one_consumer_deletes_as_many_jobs_as_the_formula_says() -> None:
    assert pytest.approx(BATCH / TICK) == PRUNED


@pytest.mark.parametrize("redis", [False, True])
def test_a_consumer_has_the_connections_that_doctor_says(redis: bool) -> None:
    plan = ConnectionPlan(used=0, most=0, workers=5, listens=not redis)
    of = needs(each_second(7, seconds=10, redis=redis), NONE)
    assert of.connections == of.consumers * plan.consumer + WEB


def test_the_limit_that_is_passed_furthest_breaks_first() -> None:
    limits = {name: limit for name, (limit, _, _) in LIMITS.items()}
    small, large = needs(each_second(7), NONE), needs(each_second(700, seconds=10), costing(job=70.0))
    assert passed(small, limits) == {}
    assert list(passed(large, limits).items()) == [
        ("max_connections", 28.004),
        ("max_memory_gb", 3.125),
        ("max_processors", 2.1875),
        ("max_pruned", 2.1875),
    ]


def test_costs_are_found_from_runs() -> None:
    costs = {"server": 1.0, "consumer": 2.0, "idle_worker": 0.5, "busy_worker": 0.7, "job": 3.0, "woken_consumer": 0.3}
    found = [
        (
            Setup(Load(jobs * DAY or 1, keep_jobs=0, workers_per_consumer=workers), consumers),
            Run(jobs, busy, *[0] * 6),
        )
        for consumers, workers, jobs, busy in (
            *((1, 2, 0, 0), (1, 12, 0, 0), (6, 2, 0, 0)),
            *((1, 2, 50, 0.3), (1, 12, 50, 0.2), (2, 8, 5, 9), (1, 16, 2, 12)),
        )
    ]
    often = [amounts(setup.load, setup.consumers, setup.workers, run.busy_workers) for setup, run in found]
    assert fit(found, [capacity.total(costs, each) for each in often], list(costs)) == pytest.approx(costs, rel=1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "Give either --jobs-a-day, or --simulate"),
        ("--simulate --jobs-a-day 5", "Give either --jobs-a-day, or --simulate"),
        ("--jobs-a-day 0", "--jobs-a-day is 0. Give the number of jobs in 24 hours. It is a number, and at least 1."),
        ("--jobs-a-day many", "argument --jobs-a-day: invalid float value: 'many'"),
        ("--jobs-a-day nan", "--jobs-a-day is nan. Give the number of jobs"),
        ("--jobs-a-day inf", "--jobs-a-day is inf. Give the number of jobs"),
        ("--jobs-a-day 5 --seconds -1", "--seconds is -1. Give the seconds that a job takes"),
        ("--jobs-a-day 5 --peak 0.5", "--peak is 0.5. Give the jobs of the busiest hour"),
        ("--jobs-a-day 5 --workers-per-consumer 2.5", "invalid int value: '2.5'"),
        ("--jobs-a-day 5 --workers-per-consumer 0", "--workers-per-consumer is 0. Give WORKERS"),
        ("--simulate --users -1", "--users is -1"),
        ("--simulate --max-connections 0", "--max-connections is 0. Give a limit of more than 0."),
        ("--jobs-a-day 5 --costs /dev/null", "/dev/null has no costs"),
        (
            "--jobs-a-day 5 --costs missing.json",
            "Measure them: python -m benchmarks.capacity_runs --costs missing.json",
        ),
    ],
)
def test_bad_input_gets_a_clear_error(arguments: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit:
        capacity.main(arguments.split())
    assert exit.value.code == 2
    assert message in capsys.readouterr().err


def test_figures_in_the_docs_are_those_that_the_commands_print(capsys: pytest.CaptureFixture[str]) -> None:
    """Run each command of the page, on the stored costs."""
    page = (KIT / "docs" / "scaling.md").read_text(encoding="utf-8")
    commands = re.findall(r"^\.venv/bin/python benchmarks/capacity\.py (.*)$", page, re.MULTILINE)
    assert len(commands) == 4
    for arguments in commands:
        capacity.main(shlex.split(arguments))
    printed = capsys.readouterr().out.splitlines()
    assert [line for line in printed if line not in page.splitlines()] == []


def test_stored_costs_say_where_they_were_measured() -> None:
    assert re.match(r"20\d\d-\d\d-\d\d \d\d:\d\d UTC, \d+ cores of ", read(COSTS).measured)
