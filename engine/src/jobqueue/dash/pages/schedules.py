"""The tab of schedules: each in plain English, with its next runs, its last run, and whether it is overdue."""

import logging
from datetime import datetime, timedelta

import dash_mantine_components as dmc
from dash.development.base_component import Component

from jobqueue.dash.pages.text import Moment, link, nothing, spoken
from jobqueue.dash.panel_view import BREAKING, COLOURS
from jobqueue.database.database import Row
from jobqueue.ledger.ledger import Ledger
from jobqueue.ledger.states import State
from jobqueue.monitoring.search import Listing
from jobqueue.schedules.timetable import ScheduleStatus, Timetable
from jobqueue.text import shown

LATE = timedelta(seconds=30)  # after its due moment, a fire is overdue

logger = logging.getLogger("jobqueue.dash.pages")


def show(schedules: list[ScheduleStatus], ledger: Ledger, address: str, moment: Moment) -> Component:
    """Return the schedules.

    :param address: of a job, with {id} in it.
    :param moment: writes a time.
    """
    if not schedules:
        example = dmc.Code('@huey.periodic_task(every("day at 07:30"))')
        return nothing("No schedules. To run a task on a schedule, put this above it:", example)
    states = Listing(ledger.database).states([one.last_job for one in schedules if one.last_job])
    watermarks, _ = Timetable(ledger).watermarks([one.name for one in schedules])
    return dmc.Stack([_one(one, states, watermarks.get(one.name), address, moment) for one in schedules], gap="sm")


def _one(
    schedule: ScheduleStatus, states: dict[str, Row], watermark: Row | None, address: str, moment: Moment
) -> Component:
    badges: list[Component] = []
    lines: list[Component] = []
    try:
        upcoming = schedule.upcoming()
        late = None if schedule.paused_at or watermark is None else _missed(schedule, watermark["watermark"])
    except Exception as error:  # of the owner's function that computes due moments
        logger.exception("Cannot compute the next run of %s.", schedule.name)
        upcoming, late = [], None
        lines.append(dmc.Text(f"Cannot compute the next run: {shown(error)}", c="red", style=BREAKING))
    if schedule.paused_at is not None:
        badges.append(dmc.Badge("paused", color="yellow", variant="light"))
        lines.append(dmc.Text(f"Paused since {moment(schedule.paused_at)}."))
    if late is not None:
        badges.append(dmc.Badge("late", color="red", variant="light"))
        words = f"Overdue since {moment(late)}. No worker has started it. Is a worker running?"
        lines.append(dmc.Text(words, c="red"))
    if upcoming and schedule.paused_at is None:
        lines.append(dmc.Text(f"Next: {', '.join(map(moment, upcoming))}", size="sm", style=BREAKING))
    lines.append(_last(schedule, states, address, moment))
    if schedule.note:
        lines.append(dmc.Text(schedule.note, size="sm", c="dimmed", style=BREAKING))
    head = dmc.Group(
        [
            dmc.Text(schedule.short_name, fw=600, style=BREAKING),
            dmc.Text(str(schedule.schedule), c="dimmed", style=BREAKING),
            *badges,
        ],
        gap="xs",
        flex=1,
        miw=240,
    )
    paused = schedule.paused_at is not None
    buttons = dmc.Group(
        [
            _button("resume" if paused else "pause", "Resume" if paused else "Pause", schedule),
            _button("run", "Run now", schedule),
        ],
        gap="xs",
    )
    return dmc.Paper(
        dmc.Stack([dmc.Group([head, buttons], align="flex-start"), *lines], gap="xs"), withBorder=True, p="md"
    )


def _button(act: str, label: str, schedule: ScheduleStatus) -> Component:
    named = spoken(label=f"{label}: {schedule.short_name}")
    at = {"jobs": "schedule", "act": act, "name": schedule.name}
    return dmc.Button(label, id=at, size="compact-sm", variant="light", **named)


def _last(schedule: ScheduleStatus, states: dict[str, Row], address: str, moment: Moment) -> Component:
    if schedule.last_job is None:
        return dmc.Text("Has not run yet.", size="sm", c="dimmed")
    job = states.get(schedule.last_job or "")
    last = dmc.Text(f"Last: {moment(schedule.last_due) or 'at its first deploy'}", size="sm")
    if job is None:
        return dmc.Group([last, dmc.Text("Its job has been deleted.", size="sm", c="dimmed")], gap="xs")
    state = State(job["state"])
    badge = link(dmc.Badge(state.value, color=COLOURS[state], variant="light"), address.format(id=job["id"]))
    error = dmc.Text(job["error"], size="sm", c="dimmed", lineClamp=2, style=BREAKING)
    return dmc.Group([last, badge, error], gap="xs")


def _missed(schedule: ScheduleStatus, watermark: float) -> datetime | None:
    """Return the last due moment that has passed without a fire."""
    since = datetime.fromtimestamp(watermark, schedule.now.tzinfo)
    until = schedule.now - LATE
    return schedule.schedule.last_between(since, until) if since < until else None
