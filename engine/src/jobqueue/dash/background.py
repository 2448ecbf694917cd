"""TODO-DOC."""

import asyncio
import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from _plotly_utils.utils import PlotlyJSONEncoder
from dash import Patch, no_update
from dash._callback_context import context_value
from dash._utils import AttributeDict
from dash.exceptions import PreventUpdate

from jobqueue.dash.callback_updates import Teller
from jobqueue.execution.current_job import current_job
from jobqueue.huey import DurableHuey

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class Background:
    """A function under `@callback(..., background=True)`; `progress`: whether it is given `set_progress` first."""

    function: Callable[..., Any]
    progress: bool

    @property
    def name(self) -> str:
        return f"{self.function.__module__}.{self.function.__qualname__}"


def found_after_reload(function: Function) -> Function:
    """Under `@callback(..., background=True)`: a page that is loaded again goes on with the job, or shows what came of it.

    Its token is in the page's address, which shows the same in another browser.
    """
    function.found_after_reload = True  # type: ignore[attr-defined]
    return function


def task_name(callback_id: str) -> str:
    """`..a.children...b.disabled..` as `a:children,b:disabled`: after the last dot, as it is in a task's short name."""
    return callback_id.strip(".").replace("...", ",").replace(".", ":")


def run(huey: DurableHuey, background: Background, args: Any, context: dict[str, Any]) -> str:
    """Call the function as Dash's managers do; its value in JSON."""
    teller = Teller(huey.ledger, current_job())
    given = AttributeDict(**context)
    given.ignore_register_page = False
    given.updated_props = Properties(teller)

    def set_progress(value: Any) -> None:
        teller.progress(in_json(list(value) if isinstance(value, list | tuple) else [value]))

    positional = [set_progress] if background.progress else []
    named: dict[str, Any] = {}
    if isinstance(args, dict):
        named = args
    else:
        positional += args if isinstance(args, list | tuple) else [args]

    before = context_value.set(given)
    try:
        value = background.function(*positional, **named)
        if inspect.iscoroutine(value):
            value = asyncio.run(value)
    except PreventUpdate:
        value = no_update
    finally:
        context_value.reset(before)
        teller.close()
    return in_json(value)


class Properties(dict[str, Any]):
    """Where `set_props` puts its values: each is told at once."""

    def __init__(self, teller: Teller) -> None:
        super().__init__()
        self._teller = teller

    def __setitem__(self, component: str, properties: dict[str, Any]) -> None:
        for name, value in properties.items():
            self._teller.property(component, name, in_json(value), add=isinstance(value, Patch))


def in_json(value: Any) -> str:
    """As Dash would write it. Raises TypeError for what JSON cannot hold."""
    return json.dumps(value, cls=PlotlyJSONEncoder)
