"""Run `async def` tasks, each in an event loop of its own."""

import inspect
import sys
from typing import Any


def finished(value: Any) -> Any:
    """Return a value. If it is a coroutine, run it in a new event loop, and return its value.

    The coroutine has the caller's context, so `current_job()` is the caller's job. If a loop runs in this thread already, as in a
    notebook's kernel, the new one has a thread of its own.
    """
    if not inspect.iscoroutine(value):
        return value
    import asyncio  # few tasks need it

    if not in_event_loop():
        return asyncio.run(value)
    from concurrent.futures import ThreadPoolExecutor
    from contextvars import copy_context

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(copy_context().run, asyncio.run, value).result()


def in_event_loop() -> bool:
    """Return whether an event loop runs in this thread."""
    events = sys.modules.get("asyncio.events")
    return events is not None and events._get_running_loop() is not None
