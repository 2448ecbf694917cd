"""Workarounds for Dash: a thread-safe first request, and async background callbacks without dash[async]."""

import inspect
import threading
from collections.abc import Callable
from typing import Any

from dash import Dash
from dash._callback import GLOBAL_CALLBACK_MAP


def setting_up(app: Dash) -> Callable[[], None]:
    """Return a function that sets an app up once, for `before_request`.

    Dash sets an app up at its first request, and its pages after that. A request that came meanwhile would miss callbacks
    or scripts, so it waits.
    """
    one_at_a_time = threading.Lock()

    def set_up() -> None:
        with one_at_a_time:
            for first in app.server.before_request_funcs.get(None, []):
                if first.__module__ == Dash.__module__:  # each of these acts only once
                    app.server.ensure_sync(first)()

    return set_up


def call_at_once(app: Dash) -> None:
    """Let an app without dash[async] call async background callbacks. The job awaits; the app does not."""
    for known in (GLOBAL_CALLBACK_MAP, app.callback_map):
        for spec in known.values():
            if spec.get("background") and inspect.iscoroutinefunction(spec.get("callback")):
                spec["callback"] = _at_once(spec["callback"])


def _at_once(wrapper: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            wrapper(*args, **kwargs).send(None)
        except StopIteration as done:
            return done.value
        raise RuntimeError("Dash's side of a background callback awaits something, which needs dash[async].")

    call.__wrapped__ = wrapper.__wrapped__  # type: ignore[attr-defined]  # the function itself
    return call
