"""The tab of datasets: age, size, last error and next refresh of each. Their content is never read here."""

import logging
from typing import Any

import dash_mantine_components as dmc
from dash import html
from dash.development.base_component import Component

from jobqueue.dash.formatting import ago, size, span
from jobqueue.dash.pages.text import Moment, facts, link, nothing, spoken
from jobqueue.dash.panel_view import BREAKING
from jobqueue.datasets.dataset import Dataset, DatasetInfo
from jobqueue.ledger.ledger import Ledger
from jobqueue.monitoring.search import Listing
from jobqueue.schedules.timetable import ScheduleStatus
from jobqueue.text import shown

SHORT = 8  # characters of a job's id

logger = logging.getLogger("jobqueue.dash.pages")


def show(
    datasets: list[Dataset[Any]], schedules: list[ScheduleStatus], ledger: Ledger, address: str, moment: Moment
) -> Component:
    """Return the datasets.

    :param schedules: all schedules.
    :param moment: writes a time.
    :param address: of a job, with {id} in it.
    """
    if not datasets:
        example = dmc.Code('@huey.dataset(every("15 minutes"), stale_after="1 hour")')
        return nothing("No datasets. To save a function's value for all pages, put this above it:", example)
    infos = [dataset.info() for dataset in datasets]
    kept = Listing(ledger.database).states([info.job_id for info in infos if info.job_id])
    by_name = {schedule.name: schedule for schedule in schedules}
    return dmc.Stack(
        [
            _one(dataset, info, by_name[dataset.name], info.job_id in kept, address, moment)
            for dataset, info in zip(datasets, infos, strict=True)
        ],
        gap="sm",
    )


def _one(
    dataset: Dataset[Any], info: DatasetInfo, schedule: ScheduleStatus, kept: bool, address: str, moment: Moment
) -> Component:
    head = dmc.Group(
        [
            dmc.Text(schedule.short_name, fw=600, style=BREAKING),
            dmc.Text(str(schedule.schedule), c="dimmed", style=BREAKING),
            *_badges(dataset, info),
        ],
        gap="xs",
        flex=1,
        miw=240,
    )
    button = dmc.Button(
        "Refresh",
        id={"jobs": "schedule", "act": "refresh", "name": dataset.name},  # a scheduled task makes it
        size="compact-sm",
        variant="light",
        **spoken(label=f"Refresh: {schedule.short_name}"),
    )
    lines = [_facts(info, kept, address, moment)] if info.version is not None else []
    if info.error:
        lines.append(_error(info, address))
    lines.append(dmc.Text(_next(schedule, moment), size="sm", style=BREAKING))
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


def _facts(info: DatasetInfo, kept: bool, address: str, moment: Moment) -> Component:
    job: Component | str = "a deleted job"
    if kept and info.job_id is not None:
        job = link(f"job {info.job_id[:SHORT]}", address.format(id=info.job_id))
    values = {
        "Version": str(info.version),
        "As of": moment(info.as_of),
        "Age": "" if info.age is None else ago(info.age.total_seconds()),
        "Rows": "-" if info.rows is None else f"{info.rows:,}",
        "Size": size(info.size),
        "Made by": job,
    }
    return facts(values, cols={"base": 2, "xs": 3, "md": 6}, spacing="xs")


def _error(info: DatasetInfo, address: str) -> Component:
    """Return the first lines of the error. The tooltip and the failed job's page have all of it."""
    words = dmc.Text(f"The last refresh failed: {info.error}", size="sm", c="red", lineClamp=2, style=BREAKING)
    inside: list[Component] = [html.Div(words, title=info.error)]
    if info.failed_job_id is not None:
        failed = link(f"job {info.failed_job_id[:SHORT]}", address.format(id=info.failed_job_id))
        inside.append(dmc.Text(["See ", failed], size="sm"))
    return html.Div(inside)


def _next(schedule: ScheduleStatus, moment: Moment) -> str:
    if schedule.paused_at is not None:
        return "The schedule is paused. No refresh is planned."
    try:
        upcoming = schedule.upcoming(1)
    except Exception as error:  # of the owner's function that computes due moments
        logger.exception("Cannot compute the next run of %s.", schedule.name)
        return f"Cannot compute the next refresh: {shown(error)}"
    if not upcoming:
        return "No refresh is planned."
    return f"Next refresh: {moment(upcoming[0])}, in {span((upcoming[0] - schedule.now).total_seconds())}"
