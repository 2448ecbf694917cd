"""The app that benchmarks/web.py runs: jobs that wait, as background callbacks and in panels, and a quick callback.

Two environment variables configure it: MANAGER is huey or diskcache, and FOLDER is where a file named `over` ends the
jobs.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dash import Dash, DiskcacheManager, Input, Output, html
from dash.development.base_component import Component

from jobqueue import DurableHuey, current_job
from jobqueue.dash.manager import HueyManager
from jobqueue.dash.panel import JobPanel

FOLDER = Path(os.environ["FOLDER"])
STEP = 1.0  # seconds from one progress to the next

huey = DurableHuey("bench", os.environ["DATABASE_URL"], secret_key="of the benchmark alone")


def manager() -> Any:
    if os.environ["MANAGER"] == "huey":
        return HueyManager(huey)
    import diskcache

    return DiskcacheManager(diskcache.Cache(str(FOLDER / "cache")))


def wait(say: Callable[[int], None]) -> None:
    step = 0
    while not Path(FOLDER, "over").exists():
        step += 1
        say(step)
        time.sleep(STEP)


@huey.task()
def wait_in_a_task() -> None:
    wait(lambda step: current_job().progress(step, 1000, "waiting"))


panel = JobPanel(huey, "waiting", task=wait_in_a_task)

app = Dash("benchmarks.watched", background_callback_manager=manager())
app.layout = html.Div(
    [html.Div(id=name) for name in ("wait", "waited", "progress", "begin", "panel", "quick", "quickly")]
)
server = app.server


@app.callback(
    Output("waited", "children"),
    Input("wait", "title"),
    background=True,
    progress=Output("progress", "children"),
    prevent_initial_call=True,
)
def wait_in_the_background(set_progress: Callable[[Any], None], _: str) -> str:
    wait(lambda step: set_progress(str(step)))
    return "over"


@app.callback(Output("panel", "children"), Input("begin", "title"), prevent_initial_call=True)
def begin(_: str) -> Component:
    return panel(wait_in_a_task().id)


@app.callback(Output("quickly", "children"), Input("quick", "title"), prevent_initial_call=True)
def quick(title: str) -> str:
    return title.upper()
