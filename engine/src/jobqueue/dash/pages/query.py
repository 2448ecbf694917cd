"""The query of the jobs page, from its address and its controls. It comes from a browser and may be anything."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jobqueue.ledger.states import State
from jobqueue.monitoring.search import DAY, DEEPEST, Filter

ROWS = 25  # of a page of the list
LONGEST = 200  # characters of a filter

TIMES = {"hour": ("Last hour", DAY / 24), "day": ("Last 24 hours", DAY), "week": ("Last 7 days", 7 * DAY),
         "month": ("Last 30 days", 30 * DAY)}  # fmt: skip

WINDOWS = {"hour": (120.0, 30), "day": (1800.0, 48)}  # seconds that a bar of the charts covers, and number of bars

TABS = {
    "jobs": "Jobs",
    "schedules": "Schedules",
    "datasets": "Datasets",
    "workers": "Workers",
}


@dataclass(frozen=True, kw_only=True)
class Query:
    """Tab, filters and page of the list. An empty text does not filter."""

    tab: str = "jobs"
    state: str = ""
    task: str = ""
    owner: str = ""
    queue: str = ""
    text: str = ""
    time: str = ""
    window: str = "hour"
    page: int = 1

    @property
    def offset(self) -> int:
        return (self.page - 1) * ROWS

    @property
    def filtered(self) -> bool:
        return bool(self.state or self.task or self.owner or self.queue or self.text or self.time)

    def filter(self, owner: str | None) -> Filter:
        """Return the filter for the search.

        :param owner: the owner that the visitor is limited to, whatever the query says.
        """
        return Filter(
            state=State(self.state) if self.state else None,
            task=self.task or None,
            owner=owner if owner is not None else self.owner or None,
            queue=self.queue or None,
            text=self.text,
            age_s=TIMES[self.time][1] if self.time else None,
        )


def read(given: Any) -> Query:
    """Return the query. Values that make no sense are left out."""
    texts = {name: _text(given, name) for name in ("task", "owner", "queue", "text")}
    choices: dict[str, tuple[str, Any]] = {
        "tab": ("jobs", TABS),
        "state": ("", list(State)),
        "time": ("", TIMES),
        "window": ("hour", WINDOWS),
    }
    for name, (default, known) in choices.items():
        value = _text(given, name)
        texts[name] = value if value in known else default
    number = _text(given, "page")
    page = int(number) if number.isascii() and number.isdigit() else 1
    return Query(**texts, page=max(1, min(page, DEEPEST // ROWS)))


def _text(given: Any, name: str) -> str:
    value = given.get(name) if isinstance(given, Mapping) else None
    if isinstance(value, bool | list | dict) or value is None:
        return ""
    return " ".join(str(value).split())[:LONGEST]
