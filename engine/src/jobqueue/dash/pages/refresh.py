"""Cheap refreshes of an open page: unchanged parts are not sent, and browsers that show the same page share one answer."""

import json
import time
from collections.abc import Callable
from typing import Any
from zlib import crc32

from dash import no_update
from dash.development.base_component import Component
from plotly.utils import PlotlyJSONEncoder

CHARTS_S = 30  # seconds between two refreshes of the charts
SHARED_S = 2.0  # seconds for which all browsers get the same answers


class SentParts:
    """Marks of the parts that a page shows already.

    A part that is sent again is drawn anew and loses the keyboard's focus.

    :param marks: from the page.
    """

    def __init__(self, marks: Any) -> None:
        self.marks = dict(marks) if isinstance(marks, dict) else {}

    def changed(self, part: str, shown: Component) -> Any:
        """Return a part, or `no_update` if the page shows it already."""
        return shown if self.differs(part, shown) else no_update

    def differs(self, part: str, key: Any) -> bool:
        """Return whether the page shows a part for another key, and note that it will show the part for this one."""
        mark = crc32(repr(key).encode())
        if self.marks.get(part) == mark:
            return False
        self.marks[part] = mark
        return True


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


def plain(component: Component) -> Any:
    """Return a component as plain values, so that one that is sent several times is built and encoded once."""
    return json.loads(json.dumps(component, cls=PlotlyJSONEncoder))
