"""Cheap refreshes of an open page: parts that have not changed are not sent, and all browsers share their figures."""

import time
from collections.abc import Callable
from typing import Any
from zlib import crc32

from dash import no_update
from dash.development.base_component import Component

CHARTS_S = 30  # seconds between two refreshes of the charts
SHARED_S = 2.0  # seconds for which all browsers get the same figures


class SentParts:
    """Marks of the parts that a page shows already.

    A part that is sent again is drawn anew and loses the keyboard's focus.

    :param marks: from the page.
    """

    def __init__(self, marks: Any) -> None:
        self.marks = dict(marks) if isinstance(marks, dict) else {}

    def lacks(self, part: str, key: Any) -> bool:
        """Return whether the page does not show the part that this key stands for."""
        return self.marks.get(part) != _mark(key)

    def changed(self, part: str, shown: Component | None, key: Any = None) -> Any:
        """Return a part, or `no_update` if the page shows it already.

        :param key: compared in place of the component.
        """
        mark = _mark(shown if key is None else key)
        if self.marks.get(part) == mark:
            return no_update
        self.marks[part] = mark
        return shown


def _mark(value: Any) -> int:
    return crc32(repr(value).encode())


class SharedAnswers:
    """A short-lived cache shared by all visitors. Concurrent misses are not coalesced."""

    def __init__(self) -> None:
        self._kept: dict[Any, tuple[float, Any]] = {}

    def get(self, key: Any, seconds: float, ask: Callable[[], Any]) -> Any:
        """Return the answer of `ask`, which may be so many seconds old."""
        now = time.monotonic()
        at, value = self._kept.get(key, (float("-inf"), None))
        if now - at >= seconds:
            value = ask()
            young = {known: kept for known, kept in self._kept.items() if now - kept[0] < CHARTS_S}
            self._kept = young | {key: (now, value)}  # a new dict, as other threads may be reading the old one
        return value
