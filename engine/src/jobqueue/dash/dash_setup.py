"""Workarounds for Dash: a thread-safe first request, async background callbacks without dash[async], and answers to polls."""

import functools
import inspect
import threading
from collections.abc import Callable
from typing import Any

from dash import Dash, NoUpdate, _callback
from dash._callback import GLOBAL_CALLBACK_MAP
from dash.background_callback.managers import BaseBackgroundCallbackManager


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


def mend_polls(managers: type[BaseBackgroundCallbackManager]) -> None:
    """Mend Dash's answers to the polls of these managers' callbacks.

    - Dash makes NoUpdate of an error that was handled, and of a cancel. Then it refuses NoUpdate in place of None if the
      callback has no outputs. The page would get a status of 500 and show nothing.
    - Dash drops the last progress if it comes with an end that updates nothing.
    - Dash sends a part of the progress that is `no_update` as an object, which the renderer cannot show.
    """
    answer = _callback._handle_rest_background_callback

    @functools.wraps(answer)
    def mended(value: Any, manager: Any, response: Any, handler: Any, context: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(manager, managers):
            return answer(value, manager, response, handler, context, *args, **kwargs)
        if "progress" in response:
            parts = response.pop("progress").items()
            response["progress"] = {name: part for name, part in parts if not NoUpdate.is_no_update(part)}
        value, has_update, goes_on = answer(value, manager, response, handler, context, *args, **kwargs)
        if not context.outputs_list and NoUpdate.is_no_update(value):
            value = None
        return value, has_update or bool(response.get("progress")), goes_on

    _callback._handle_rest_background_callback = mended  # type: ignore[assignment]
