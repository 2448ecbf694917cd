"""The tasks and the Dash app of the old ledger.

The same code runs under the engine that wrote the ledger and under the current one. It uses only public names. Its
tasks are always named `old_jobs.*`, because their names are part of the stored messages.
"""

import importlib
import importlib.util
import json
import logging
import os
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

from dash import Dash, Input, Output, html, set_props
from huey.exceptions import TaskException

import jobqueue
from jobqueue import DatasetInfo, DurableHuey, Event, LogLine, Progress, State, current_job, every

SECRET_KEY = "the key of the old ledger"
FOR_EVER = timedelta(days=36_500)  # longer than anyone will keep the ledger
RETRY_DELAY = 10  # seconds
HELD_AFTER = 1  # the step after which make.py interrupts `walk`

logger = logging.getLogger("old_jobs")

F = TypeVar("F", bound=Callable[..., Any])


def open_ledger(database_url: str, redis_url: str | None = None, **options: Any) -> DurableHuey:
    """Return the queue on a ledger. It prunes no job, because the old ones ended long ago."""
    settings = {"lease_s": 2.0, "renew_s": 0.5, "keep_days": None, "keep_jobs": None, "version": engine()} | options
    return DurableHuey("old-ledger", database_url, redis_url, secret_key=SECRET_KEY, **settings)


def engine() -> str:
    """Return the folder that `jobqueue` was imported from, which distinguishes old code from new."""
    return str(Path(jobqueue.__file__).parents[1])


def note(name: str) -> None:
    """Add a line to the file NOTES: the name, job, attempt and engine."""
    job = current_job()
    line = json.dumps([name, job.id, job.attempt, engine()]) + "\n"
    descriptor = os.open(os.environ["NOTES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, line.encode())  # one write, so that a kill cannot leave half a line
    os.close(descriptor)


def wait_while_held(report: Callable[[], object]) -> None:
    """Report repeatedly while the file HOLD exists. Only make.py creates it, to interrupt jobs at a known point."""
    report()
    while os.path.exists(os.environ.get("HOLD", "")):
        time.sleep(0.01)
        report()


def named(function: F) -> F:
    """Give a task's function the module name that the stored messages have."""
    function.__module__ = "old_jobs"
    return function


def tasks_on(huey: DurableHuey) -> SimpleNamespace:
    """Register the tasks on a queue. Return them by name."""

    @huey.task()
    @named
    def add(*numbers: int) -> int:
        note("add")
        logger.warning("adds %d numbers", len(numbers))
        return sum(numbers)

    @huey.task()
    @named
    def table() -> Any:
        note("table")
        return prices_table(3)

    @huey.task()
    @named
    def fail(message: str) -> None:
        note("fail")
        raise ValueError(message)

    @huey.task(retries=1, retry_delay=RETRY_DELAY)
    @named
    def fail_once() -> int:
        note("fail_once")
        attempt = current_job().attempt
        if attempt == 1:
            raise ValueError("the first attempt")
        return attempt

    @huey.task()
    @named
    def handle_error(word: str, error: TaskException | None = None) -> str:
        note("handle_error")
        return word

    @huey.task()
    @named
    def collect(values: Sequence[Any]) -> list[Any]:
        """Return a chord's results, with the type's name in place of a value that is no number."""
        note("collect")
        return [value if isinstance(value, int) else type(value).__name__ for value in values]

    @huey.task()
    @named
    def walk(steps: int) -> list[int]:
        """Save each step while holding a lock."""

        def step(number: int) -> int:
            note(f"step {number}")
            return number * number

        job = current_job()
        values = []
        with huey.lock_task(f"walk {job.id}"):
            for number in range(steps):
                values.append(job.step(f"step {number}", step, number))
                if number == HELD_AFTER:
                    wait_while_held(partial(job.progress, number + 1, steps, f"step {number}"))
        return values

    @huey.task()
    @named
    def describe(state: State, progress: Progress, info: DatasetInfo, event: Event, line: LogLine) -> list[Any]:
        """Take values of the engine's own classes, which messages contain as pickles."""
        note("describe")
        return [state.ended, progress.done, progress.note, info.name, event.name, line.text]

    @huey.task()
    @named
    def share(word: str) -> str:
        """Return the word in capitals. Tests submit this task with `unique` or `cache_for`."""
        note("share")
        return word.upper()

    @huey.periodic_task(every("2 seconds"))
    @named
    def beat() -> None:
        note("beat")

    @huey.dataset(every("minute", grace=FOR_EVER), keep=100)
    @named
    def prices() -> Any:
        note("prices")
        return prices_table((prices.info().version or 0) + 1)

    return SimpleNamespace(**{name: task for name, task in locals().items() if name != "huey"})


def values_of_the_engine(info: DatasetInfo) -> list[Any]:
    """Return arguments for `describe`."""
    at = datetime(2024, 1, 31, tzinfo=UTC)
    line = LogLine(at=at, attempt=1, level="INFO", logger="old_jobs", text="a line")
    return [State.SUCCEEDED, Progress(1, 2, "half"), info, Event(name="claimed", at=at, attempt=1), line]


def prices_table(version: int) -> Any:
    """Return a DataFrame with a DatetimeIndex and columns of several types."""
    import pandas as pd

    days = pd.DatetimeIndex(["2024-03-29", "2024-03-30", "2024-03-31", "2024-04-01"], tz="Europe/Paris", name="day")
    return pd.DataFrame(
        {
            "price": [1.5, float("nan"), -3.25, float(version)],
            "volume": [1, 2, 3, version],
            "name": ["a", "é", None, f"version {version}"],
        },
        index=days,
    )


def app_on(huey: DurableHuey) -> Dash:
    """Return an app whose background callbacks are jobs of the queue."""
    if importlib.util.find_spec("jobqueue.dash"):
        manager = importlib.import_module("jobqueue.dash")
        background = importlib.import_module("jobqueue.dash.background")
    else:  # the old engine
        manager = background = importlib.import_module("jobqueue.manager")

    app = Dash("old_app", background_callback_manager=manager.HueyManager(huey), suppress_callback_exceptions=True)
    app.layout = html.Div()

    @app.callback(Output("double", "children"), Input("number", "value"), background=True, prevent_initial_call=True)
    def double(value: int) -> int:
        note("double")
        return value * 2

    @app.callback(
        Output("tell", "children"),
        Input("word", "value"),
        background=True,
        prevent_initial_call=True,
        progress=[Output("bar", "value"), Output("bar", "max")],
    )
    @background.found_after_reload
    def tell(set_progress: Callable[[Any], None], value: str) -> str:
        attempt = current_job().attempt
        set_props("beside", {"children": f"attempt {attempt}"})
        note("tell")
        wait_while_held(partial(set_progress, (attempt, 2)))
        return f"{value} in attempt {attempt}"

    return app
