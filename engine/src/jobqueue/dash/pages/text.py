"""Small components that the jobs pages share, and a job's events in words."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import dash_mantine_components as dmc
from dash.development.base_component import Component

from jobqueue.dash.panel_view import BREAKING
from jobqueue.jobs.history import Event

Moment = Callable[[datetime | float | None], str]  # writes a time, as Access.moment does

HAPPENED = {
    "submitted": "Submitted",
    "first version": "To make the first version of a dataset",
    "released": "The job before it has ended",
    "abandoned": "Not run: the job before it did not succeed",
    "due": "Scheduled time reached",
    "claimed": "Started",
    "retried": "Failed, will be retried",
    "lost": "Interrupted",
    "given back": "Interrupted, and in the queue again",
    "cancelled": "Cancelled",
    "put back": "Retried by a user",
    "unknown": "Not known to this version of the app",
}

ENDED = {"succeeded": "Succeeded", "failed": "Failed", "cancelled": "Cancelled itself"}


def happened(event: Event) -> str:
    """Return an event in words."""
    if event.name == "ended":
        return ENDED.get(event.state or "", "Ended")
    return HAPPENED.get(event.name, event.name)


def unavailable() -> Component:
    """Return a note for a page that cannot reach the database."""
    words = "Running jobs are not affected. The figures below may be old. This page retries automatically."
    return dmc.Alert(words, title="The database does not answer", color="red")


def nothing(words: str, *more: Component) -> Component:
    """Return a note in place of an empty list."""
    inside = dmc.Stack([dmc.Text(words, c="dimmed", ta="center"), *more], align="center", py="xl")
    return dmc.Paper(inside, withBorder=True, p="md")


def said(words: str, colour: str) -> Component:
    """Return the outcome of an action."""
    return dmc.Alert(words, color=colour, withCloseButton=True, p="xs", closeButtonLabel="Close")


def facts(values: dict[str, Component | str], cols: dict[str, int], spacing: str = "sm") -> Component:
    """Return labelled values side by side."""
    parts = [[dmc.Text(label, size="xs", c="dimmed"), dmc.Text(value, size="sm", style=BREAKING)]
             for label, value in values.items()]  # fmt: skip
    return dmc.SimpleGrid([dmc.Box(part) for part in parts], cols=cols, spacing=spacing, verticalSpacing=spacing)


def table(heads: list[str], rows: list[list[Any]], label: str, width: int = 300) -> Component:
    """Return a table that scrolls sideways on a screen narrower than `width` pixels."""
    head = dmc.TableThead(dmc.TableTr([dmc.TableTh(text) for text in heads]))
    styles = [BREAKING | {"minWidth": 120}, *[BREAKING] * (len(heads) - 1)]  # the first column is broken last
    cells = [[dmc.TableTd(cell, style=style) for cell, style in zip(row, styles, strict=True)] for row in rows]
    body = dmc.TableTbody([dmc.TableTr(row) for row in cells])
    inside = dmc.Table([head, body], verticalSpacing="xs", **{"aria-label": label})
    return dmc.TableScrollContainer(inside, minWidth=width)


def link(inside: Component | str, address: str, **more: Any) -> Component:
    """Return a link to another page of the app."""
    return dmc.Anchor(inside, href=address, refresh=False, style=BREAKING, **more)


def spoken(**labels: str) -> dict[str, Any]:
    """Return attributes for screen readers: spoken(label="Search") is aria-label."""
    return {f"aria-{name}": text for name, text in labels.items()}
