"""TODO-DOC."""

import time
from collections.abc import Callable
from typing import Any
from zlib import crc32

from dash import no_update
from dash.development.base_component import Component

RATES_EVERY = 30  # seconds between two looks at what ended
KEPT = 2.0  # seconds for which all browsers are told the same figures


class Told:
    """What a page shows already is not told again: what is replaced loses the keyboard's focus, and is drawn anew."""

    def __init__(self, marks: Any) -> None:
        self.marks = dict(marks) if isinstance(marks, dict) else {}

    def __call__(self, part: str, shown: Component) -> Any:
        mark = crc32(repr(shown).encode())
        if self.marks.get(part) == mark:
            return no_update
        self.marks[part] = mark
        return shown


class Recent:
    """Answers that are good for some seconds, whoever asks. Who finds none asks, however many others do just now."""

    def __init__(self) -> None:
        self._kept: dict[Any, tuple[float, Any]] = {}

    def __call__(self, key: Any, seconds: float, ask: Callable[[], Any]) -> Any:
        now = time.monotonic()
        at, value = self._kept.get(key, (float("-inf"), None))
        if now - at >= seconds:
            value = ask()
            young = {known: kept for known, kept in self._kept.items() if now - kept[0] < RATES_EVERY}
            self._kept = young | {key: (now, value)}  # another one, as others may be reading it
        return value
