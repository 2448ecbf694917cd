"""Times, amounts and what happened to a job, as these pages say them."""

from typing import Any

import dash_mantine_components as dmc
from dash.development.base_component import Component

from jobqueue.dash.panel_view import BREAKING
from jobqueue.jobs.history import Event

HAPPENED = {
    "submitted": "Submitted",
    "released": "What it waited for has ended",
    "abandoned": "Not run: the job before it did not succeed",
    "due": "Its time came",
    "claimed": "Started",
    "retried": "Failed, to be tried again",
    "lost": "Its worker died",
    "given back": "Back in the queue: its worker was stopped",
    "cancelled": "Cancelled",
    "put back": "Put back by a person",
    "unknown": "No worker knew its task",
}

ENDED = {"succeeded": "Succeeded", "failed": "Failed", "cancelled": "Cancelled itself"}


def happened(event: Event) -> str:
    if event.name == "ended":
        return ENDED.get(event.state or "", "Ended")
    return HAPPENED.get(event.name, event.name)


def unavailable() -> Component:
    words = "Jobs that run go on. What is shown may be old; this page looks again by itself."
    return dmc.Alert(words, title="The database does not answer", color="red")


def nothing(words: str, *more: Component) -> Component:
    """Where a list is empty."""
    inside = dmc.Stack([dmc.Text(words, c="dimmed", ta="center"), *more], align="center", py="xl")
    return dmc.Paper(inside, withBorder=True, p="md")


def table(heads: list[str], rows: list[list[Any]], label: str, width: int = 300) -> Component:
    """One that is scrolled to the side where there is less room than `width`, in pixels."""
    head = dmc.TableThead(dmc.TableTr([dmc.TableTh(text) for text in heads]))
    styles = [BREAKING | {"minWidth": 120}, *[BREAKING] * (len(heads) - 1)]  # names are broken last
    cells = [[dmc.TableTd(cell, style=style) for cell, style in zip(row, styles, strict=True)] for row in rows]
    body = dmc.TableTbody([dmc.TableTr(row) for row in cells])
    inside = dmc.Table([head, body], verticalSpacing="xs", **{"aria-label": label})
    return dmc.TableScrollContainer(inside, minWidth=width)


def link(inside: Component | str, address: str) -> Component:
    return dmc.Anchor(inside, href=address, refresh=False, style=BREAKING)


def spoken(**labels: str) -> dict[str, Any]:
    """Attributes for screen readers: spoken(label="Search") is aria-label."""
    return {f"aria-{name}": text for name, text in labels.items()}
