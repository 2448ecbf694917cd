"""Small Dash apps that together use every documented feature of background callbacks.

A consumer imports them as it would a user's app. What they did they note in the folder NOTES, and some wait for a file there.
"""

import asyncio
import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from dash import MATCH, Dash, Input, Output, Patch, State, ctx, html, no_update, set_props
from dash.background_callback.managers import BaseBackgroundCallbackManager
from dash.exceptions import PreventUpdate

from jobqueue import DurableHuey, current_job
from tests.waiting import wait_until

EXPIRE = 1  # seconds

APPS: dict[str, Callable[[Dash], None]] = {}


def small_app(add: Callable[[Dash], None]) -> Callable[[Dash], None]:
    APPS[add.__name__] = add
    return add


def make_apps(manager: Callable[[], BaseBackgroundCallbackManager]) -> dict[str, Dash]:
    """Make the apps, each with its own manager."""
    made = {}
    for name, add in APPS.items():
        made[name] = app = Dash(name, background_callback_manager=manager(), suppress_callback_exceptions=True)
        app.layout = html.Div()
        add(app)
    return made


def apps_of(huey: DurableHuey) -> dict[str, Dash]:
    from jobqueue.dash.manager import HueyManager

    return make_apps(lambda: HueyManager(huey))


def note(name: str, text: str = "") -> None:
    with Path(os.environ["NOTES"], name).open("a") as notes:
        notes.write(f"{text}\n")


def notes(name: str) -> list[str]:
    path = Path(os.environ["NOTES"], name)
    return path.read_text().splitlines() if path.exists() else []


def wait_for(name: str) -> None:
    wait_until(lambda: notes(name), 20)


def number_of_run(name: str) -> int:
    """Never end if there is a note "closed" at the start. Then only a cache can answer."""
    note(name)
    number = len(notes(name))
    if notes("closed"):
        wait_for("opened")
    return number


def background(app: Dash, *dependencies: Any, **options: Any) -> Any:
    return app.callback(*dependencies, background=True, prevent_initial_call=True, **options)


@small_app
def one_output(app: Dash) -> None:
    @background(app, Output("one-out", "children"), Input("one-in", "value"), State("one-more", "value"))
    def update(value: int, more: int) -> list[Any]:
        return [html.B(value + more), None, {"a": 1.5}]


@small_app
def several_outputs(app: Dash) -> None:
    @background(
        app,
        output={"sum": Output("sum", "children"), "parts": (Output("left", "children"), Output("right", "title"))},
        inputs={"a": Input("a", "value"), "b": {"c": Input("c", "value")}},
    )
    def update(a: int, b: dict[str, int]) -> dict[str, Any]:
        return {"sum": a + b["c"], "parts": (a, b["c"])}


@small_app
def progress(app: Dash) -> None:
    @background(
        app,
        Output("progress-out", "children"),
        Input("progress-in", "value"),
        progress=[Output("bar", "value"), Output("bar", "max")],
        progress_default=["", "none"],
    )
    def update(set_progress: Callable[[Any], None], value: int) -> str:
        for done in range(1, value + 1):
            set_progress((str(done), {"of": value}))
            wait_for(f"progress seen {done}")
        return "done"


@small_app
def parts_of_progress(app: Dash) -> None:
    """Set a part of the progress at a time, as an argument of the callback says: a text for each step."""

    @background(
        app,
        Output("parts-out", "children"),
        Input("parts-in", "value"),
        progress=[Output("parts-bar", "value"), Output({"type": "parts", "index": 1}, "children")],
    )
    def update(set_progress: Callable[[Any], None], steps: list[list[Any]]) -> str:
        for number, step in enumerate(steps):
            set_props("parts-beside", {"children": number, "title": no_update})
            set_progress([no_update if part is None else part for part in step])
            wait_for(f"parts seen {number}")
        return "done"


@small_app
def last_progress(app: Dash) -> None:
    @background(app, Output("last-out", "children"), Input("last-in", "value"), progress=Output("last", "children"))
    def update(set_progress: Callable[[Any], None], value: int) -> str:
        for done in range(value):
            set_progress(f"{done + 1} of {value}")
        return "done"


@small_app
def running(app: Dash) -> None:
    @background(
        app,
        Output("running-out", "children"),
        Input("running-in", "value"),
        running=[(Output("button", "disabled"), True, False), (Output("says", "children"), "working", "idle")],
        interval=250,
    )
    def update(value: int) -> int:
        return value


@small_app
def cancel(app: Dash) -> None:
    @background(
        app,
        Output("cancel-out", "children"),
        Input("cancel-in", "value"),
        cancel=[Input("stop", "n_clicks")],
        running=[(Output("stop", "disabled"), False, True)],
    )
    def update(value: int) -> str:
        note(f"begun {value}")
        wait_for(f"let go {value}")
        note(f"ended {value}")
        return "late"


@small_app
def cached(app: Dash) -> None:
    app._background_manager.cache_by = [lambda: 1]  # type: ignore[union-attr]

    @background(app, Output("cached-out", "children"), Input("cached-in", "value"))
    def update(value: int) -> tuple[int, int]:
        return value * 2, number_of_run(f"cached {value}")


@small_app
def cached_but_for(app: Dash) -> None:
    app._background_manager.cache_by = [lambda: 1]  # type: ignore[union-attr]

    @background(
        app,
        Output("but-out", "children"),
        Input("but-in", "value"),
        Input("but-clicks", "n_clicks"),
        cache_args_to_ignore=[1],
    )
    def update(value: int, clicks: int) -> tuple[int, int]:
        return value * 2, number_of_run(f"cached but for {value}")


@small_app
def expiring(app: Dash) -> None:
    app._background_manager.cache_by = [lambda: 1]  # type: ignore[union-attr]
    app._background_manager.expire = EXPIRE  # type: ignore[union-attr]

    @background(app, Output("expiring-out", "children"), Input("expiring-in", "value"))
    def update(value: int) -> int:
        return number_of_run("expiring")


@small_app
def properties(app: Dash) -> None:
    @background(app, Output("properties-out", "children"), Input("properties-in", "value"))
    def update(value: int) -> str:
        set_props("beside", {"children": value, "title": "set"})
        set_props({"type": "beside", "index": 2}, {"children": "a pattern's"})
        return "done"


@small_app
def no_outputs(app: Dash) -> None:
    @background(app, Input("none-in", "value"))
    def update(value: int) -> None:
        set_props("none-out", {"children": value})


@small_app
def no_updates(app: Dash) -> None:
    @background(app, Output("kept", "children"), Output("changed", "children"), Input("no-in", "value"))
    def update(value: int) -> tuple[Any, int]:
        if value < 0:
            raise PreventUpdate
        return no_update, value


@small_app
def errors(app: Dash) -> None:
    def in_words(error: Exception) -> str:
        set_props("errors-beside", {"children": "handled"})
        return f"It says: {'nobody is called 7' in str(error)}"

    @background(app, Output("errors-out", "children"), Input("errors-in", "value"), on_error=in_words)
    def update(value: int) -> str:
        raise ValueError(f"nobody is called {value}")

    @background(app, Output("errors-out", "title"), Input("errors-raw", "value"))
    def update_title(value: int) -> str:
        raise ValueError(f"nobody is called {value}")


@small_app
def patterns(app: Dash) -> None:
    @background(
        app,
        Output({"type": "card", "index": MATCH}, "children"),
        Input({"type": "switch", "index": MATCH}, "value"),
        running=[(Output({"type": "card", "index": MATCH}, "title"), "on", "off")],
    )
    def update(value: int) -> str:
        assert ctx.triggered_id is not None
        return f"{ctx.triggered_id['index']}: {value}"


@small_app
def context(app: Dash) -> None:
    @background(app, Output("context-out", "children"), Input("context-in", "value"), Input("context-other", "value"))
    def update(value: int, other: int) -> dict[str, Any]:
        return {
            "triggered": ctx.triggered,
            "id": ctx.triggered_id,
            "inputs": ctx.inputs,
            "cookie": ctx.cookies.get("region"),
            "header": ctx.headers.get("X-Tenant"),
            "path": ctx.path.partition("?")[0],
            "outputs": ctx.outputs_list,
            "grouping": ctx.args_grouping[1].value,
        }


@small_app
def figures(app: Dash) -> None:
    @background(
        app, Output("figure", "figure"), Output("list", "children"), Output("nan", "data"), Input("figure-in", "value")
    )
    def update(value: int) -> tuple[go.Figure, Patch, list[float]]:
        added = Patch()
        added.append(value)
        return go.Figure(go.Scatter(y=[1, value])), added, [float("nan"), 1]


@small_app
def triggers(app: Dash) -> None:
    app._background_manager.cache_by = [lambda: 1]  # type: ignore[union-attr]

    @background(
        app,
        Output("triggers-out", "children"),
        Input("triggers-in", "value"),
        Input("triggers-other", "value"),
        cache_ignore_triggered=False,
    )
    def update(value: int, other: int) -> tuple[str, int]:
        return ctx.triggered_id, number_of_run("triggers")


@small_app
def pages(app: Dash) -> None:
    """Make an app whose callback is in a module of its own, which names no app."""
    sys.modules.pop("tests.engine.dash.background.one_page", None)  # other apps of this process have it too
    app.layout = importlib.import_module("tests.engine.dash.background.one_page").layout


# --- what only the tests of the faults use ---


@small_app
def waiting(app: Dash) -> None:
    @background(
        app,
        Output("waiting-out", "children"),
        Input("waiting-in", "value"),
        progress=Output("waiting-bar", "children"),
        running=[(Output("waiting-button", "disabled"), True, False)],
    )
    def update(set_progress: Callable[[Any], None], value: Any) -> str:
        set_props("waiting-beside", {"children": "first"})
        set_props("waiting-other", {"children": "second"})
        set_progress("begun")
        note(f"waiting {value}", str(os.getpid()))
        wait_for(f"let go {value}")
        return f"{value} in attempt {current_job().attempt}"


@small_app
def namesakes(app: Dash) -> None:
    def make(name: str) -> None:
        @background(app, Output(name, "children"), Input("namesakes-in", "value"))
        def update(value: int) -> str:
            return f"{name} {value}"

    make("first-namesake")
    make("second-namesake")


@small_app
def asynchronous(app: Dash) -> None:
    @background(app, Output("async-out", "children"), Input("async-in", "value"))
    async def update(value: int) -> int:
        set_props("async-beside", {"children": value})
        await asyncio.sleep(0)
        return value * 2
