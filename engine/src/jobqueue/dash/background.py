"""The job of a background callback: it runs the function with Dash's context, `set_progress` and `set_props`."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from _plotly_utils.utils import PlotlyJSONEncoder
from dash import NoUpdate, Patch, no_update
from dash._callback_context import context_value
from dash._utils import AttributeDict
from dash.exceptions import PreventUpdate

from jobqueue.dash.callback_updates import UpdateWriter
from jobqueue.execution.coroutines import finished
from jobqueue.execution.current_job import SubmitRefused, current_job
from jobqueue.huey import DurableHuey

MODULE = "callback"  # of the tasks of background callbacks
LONGEST_NAME = 900  # bytes of a task's name in UTF-8

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class Background:
    """A function of `@callback(..., background=True)`. `progress`: whether its first argument is `set_progress`."""

    function: Callable[..., Any]
    progress: bool

    @property
    def name(self) -> str:
        return f"{self.function.__module__}.{self.function.__qualname__}"


def found_after_reload(function: Function) -> Function:
    """Let a reloaded page find the job of its background callback, while it runs and after it has ended.

    Put it below `@callback(..., background=True)`. The job's token is in the page's address, which shows the same job in
    another browser.
    """
    function.found_after_reload = True  # type: ignore[attr-defined]
    return function


def is_callback(task: str) -> bool:
    """Return whether a task, by its full name, is a background callback. Its result is for its page alone."""
    return task.startswith(f"{MODULE}.")


def task_name(callback_id: str) -> str:
    """Return the task name of a callback: `a:children,b:disabled` for `..a.children...b.disabled..`.

    It has no dots, as a task's short name begins after the last one. The outputs of a long list are cut, and a hash stands for them.
    """
    name = callback_id.strip(".").replace("...", ",").replace(".", ":")
    if len(name.encode()) <= LONGEST_NAME:
        return name
    return f"{name[:100]}… {hashlib.sha256(name.encode()).hexdigest()}"


def run(huey: DurableHuey, background: Background, args: Any, context: dict[str, Any]) -> str:
    """Call the function as Dash's own managers do. Returns its value as JSON."""
    writer = UpdateWriter(huey.ledger, current_job())
    given = AttributeDict(**context)
    given.ignore_register_page = False
    given.updated_props = Properties(writer)

    latest: list[Any] = []  # the last value of each part of the progress

    def set_progress(value: Any) -> None:
        parts = list(value) if isinstance(value, list | tuple) else [value]
        for place, (part, before) in enumerate(zip(parts, latest, strict=False)):
            if NoUpdate.is_no_update(part) and not isinstance(before, Patch):  # a page would apply a patch again
                parts[place] = before
        latest[:] = parts
        writer.progress(in_json(parts))

    positional = [set_progress] if background.progress else []
    named: dict[str, Any] = {}
    if isinstance(args, dict):
        named = args
    else:
        positional += args if isinstance(args, list | tuple) else [args]

    before = context_value.set(given)
    try:
        value = finished(background.function(*positional, **named))
    except PreventUpdate:
        value = no_update
    except SubmitRefused as error:
        raise SubmitRefused(str(error)) from error  # by the name that `errors` knows
    finally:
        context_value.reset(before)
        writer.close()
    return in_json(value)


class Properties(dict[str, Any]):
    """The dict that `set_props` writes to. It sends each value at once."""

    def __init__(self, writer: UpdateWriter) -> None:
        super().__init__()
        self._writer = writer

    def __setitem__(self, component: str, properties: dict[str, Any]) -> None:
        for name, value in properties.items():
            if not NoUpdate.is_no_update(value):
                self._writer.property(component, name, in_json(value), add=isinstance(value, Patch))


def in_json(value: Any) -> str:
    """Return a value as Dash's JSON. Raises TypeError for a value that JSON cannot hold."""
    return json.dumps(value, cls=PlotlyJSONEncoder)
