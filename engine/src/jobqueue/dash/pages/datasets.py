"""What is made again and again for others to read: how old it is, what went wrong, and what comes next.

It is asked for what is known of each dataset, and never for its content.
"""

import logging
from typing import Any

import dash_mantine_components as dmc
from dash import html
from dash.development.base_component import Component

from jobqueue.dash.formatting import ago, moment, size, span
from jobqueue.dash.pages.text import link, nothing, spoken
from jobqueue.dash.panel_view import BREAKING
from jobqueue.datasets.dataset import Dataset, DatasetInfo
from jobqueue.ledger.ledger import Ledger
from jobqueue.monitoring.search import Listing
from jobqueue.schedules.timetable import ScheduleStatus

SHORT = 8  # characters of a job's id

logger = logging.getLogger("jobqueue.dash.pages")


def show(datasets: list[Dataset[Any]], looks: list[ScheduleStatus], ledger: Ledger, address: str) -> Component:
    """`looks`: at all schedules. `address`: of a job, with {id} in it."""
    if not datasets:
        return nothing(
            "No datasets. A function makes one, for any page to read, with this above it:",
            dmc.Code('@huey.dataset(every("15 minutes"), stale_after="1 hour")'),
        )
    infos = [dataset.info() for dataset in datasets]
    kept = Listing(ledger.database).states([info.job_id for info in infos if info.job_id])
    schedules = {look.name: look for look in looks}
    return dmc.Stack(
        [
            _one(dataset, info, schedules[dataset.name], info.job_id in kept, address)
            for dataset, info in zip(datasets, infos, strict=True)
        ],
        gap="sm",
    )


def _one(dataset: Dataset[Any], info: DatasetInfo, look: ScheduleStatus, kept: bool, address: str) -> Component:
    head = dmc.Group(
        [
            dmc.Text(look.short_name, fw=600, style=BREAKING),
            dmc.Text(str(look.schedule), c="dimmed", style=BREAKING),
            *_badges(dataset, info),
        ],
        gap="xs",
        flex=1,
        miw=240,
    )
    button = dmc.Button(
        "Refresh",
        id={"jobs": "schedule", "act": "refresh", "name": dataset.name},  # a periodic task makes it
        size="compact-sm",
        variant="light",
        **spoken(label=f"Refresh: {look.short_name}"),
    )
    lines = [_facts(info, kept, address)] if info.version is not None else []
    if info.error:
        lines.append(_error(info, address))
    lines.append(dmc.Text(_next(look), size="sm", style=BREAKING))
    return dmc.Paper(
        dmc.Stack([dmc.Group([head, button], align="flex-start"), *lines], gap="xs"), withBorder=True, p="md"
    )


def _badges(dataset: Dataset[Any], info: DatasetInfo) -> list[Component]:
    if info.version is None:
        return [dmc.Badge("no version yet", color="gray", variant="light")]
    if dataset.stale_after is None:
        return []
    words, colour = ("stale", "orange") if info.stale else ("fresh", "green")
    return [dmc.Badge(words, color=colour, variant="light")]


def _facts(info: DatasetInfo, kept: bool, address: str) -> Component:
    job: Component | str = "a job no longer kept"
    if kept and info.job_id is not None:
        job = link(f"job {info.job_id[:SHORT]}", address.format(id=info.job_id))
    facts = {
        "Version": str(info.version),
        "As of": moment(info.as_of),
        "Age": "" if info.age is None else ago(info.age.total_seconds()),
        "Rows": "-" if info.rows is None else f"{info.rows:,}",
        "Size": size(info.size),
        "Made by": job,
    }
    return dmc.SimpleGrid(
        [
            html.Div([dmc.Text(label, size="xs", c="dimmed"), dmc.Text(value, size="sm", style=BREAKING)])
            for label, value in facts.items()
        ],
        cols={"base": 2, "xs": 3, "md": 6},
        spacing="xs",
        verticalSpacing="xs",
    )


def _error(info: DatasetInfo, address: str) -> Component:
    """Its beginning; all of it to whoever points at it, and on the page of the job that failed."""
    said = dmc.Text(f"The last refresh failed: {info.error}", size="sm", c="red", lineClamp=2, style=BREAKING)
    inside: list[Component] = [html.Div(said, title=info.error)]
    if info.failed_job_id is not None:
        failed = link(f"job {info.failed_job_id[:SHORT]}", address.format(id=info.failed_job_id))
        inside.append(dmc.Text(["See ", failed], size="sm"))
    return html.Div(inside)


def _next(look: ScheduleStatus) -> str:
    if look.paused_at is not None:
        return "Its schedule is paused: nothing refreshes it by itself."
    try:
        upcoming = look.upcoming(1)
    except Exception as error:  # of a function that says when
        logger.exception("The schedule of %s cannot be read.", look.name)
        return f"When it is refreshed next cannot be told: {error!r}"
    if not upcoming:
        return "Nothing refreshes it by itself."
    return f"Next refresh: {moment(upcoming[0])}, in {span((upcoming[0] - look.now).total_seconds())}"
