"""What runs by itself: when, in plain English, how the last run went, what comes next, and whether it is late."""

import logging
from datetime import datetime, timedelta

import dash_mantine_components as dmc
from dash.development.base_component import Component

from jobqueue.dash.pages.text import link, nothing, spoken
from jobqueue.dash.panel_view import BREAKING, COLOURS
from jobqueue.database.database import Row
from jobqueue.ledger.ledger import Ledger
from jobqueue.ledger.states import State
from jobqueue.monitoring.search import Listing
from jobqueue.schedules.timetable import ScheduleStatus, Timetable

LATE = timedelta(seconds=30)  # after its moment, from which on a fire is late

logger = logging.getLogger("jobqueue.dash.pages")


def show(looks: list[ScheduleStatus], ledger: Ledger, address: str) -> Component:
    """`address`: of a job, with {id} in it."""
    if not looks:
        return nothing(
            "No schedules. A task has one with this above it:", dmc.Code('@huey.periodic_task(every("day at 07:30"))')
        )
    states = Listing(ledger.database).states([look.last_job for look in looks if look.last_job])
    watermarks, _ = Timetable(ledger).watermarks([look.name for look in looks])
    return dmc.Stack([_one(look, states, watermarks.get(look.name), address) for look in looks], gap="sm")


def _one(look: ScheduleStatus, states: dict[str, Row], watermark: Row | None, address: str) -> Component:
    badges: list[Component] = []
    lines: list[Component] = []
    try:
        upcoming = look.upcoming()
        late = None if look.paused_at or watermark is None else _missed(look, watermark["watermark"])
    except Exception as error:  # of a function that says when
        logger.exception("The schedule of %s cannot be read.", look.name)
        upcoming, late = [], None
        lines.append(dmc.Text(f"When it is due cannot be told: {error!r}", c="red", style=BREAKING))
    if look.paused_at is not None:
        badges.append(dmc.Badge("paused", color="yellow", variant="light"))
        lines.append(dmc.Text(f"Paused since {_there(look.paused_at)}."))
    if late is not None:
        badges.append(dmc.Badge("late", color="red", variant="light"))
        lines.append(dmc.Text(f"Was due {_there(late)}: no worker has begun it. Does one run?", c="red"))
    if upcoming and look.paused_at is None:
        lines.append(dmc.Text(f"Next: {', '.join(map(_there, upcoming))}", size="sm", style=BREAKING))
    lines.append(_last(look, states, address))
    if look.note:
        lines.append(dmc.Text(look.note, size="sm", c="dimmed", style=BREAKING))
    head = dmc.Group(
        [
            dmc.Text(look.short_name, fw=600, style=BREAKING),
            dmc.Text(str(look.schedule), c="dimmed", style=BREAKING),
            *badges,
        ],
        gap="xs",
        flex=1,
        miw=240,
    )
    paused = look.paused_at is not None
    buttons = dmc.Group(
        [
            _button("resume" if paused else "pause", "Resume" if paused else "Pause", look),
            _button("run", "Run now", look),
        ],
        gap="xs",
    )
    return dmc.Paper(
        dmc.Stack([dmc.Group([head, buttons], align="flex-start"), *lines], gap="xs"), withBorder=True, p="md"
    )


def _button(act: str, label: str, look: ScheduleStatus) -> Component:
    named = spoken(label=f"{label}: {look.short_name}")
    return dmc.Button(
        label, id={"jobs": "schedule", "act": act, "name": look.name}, size="compact-sm", variant="light", **named
    )


def _last(look: ScheduleStatus, states: dict[str, Row], address: str) -> Component:
    if look.last_due is None:
        return dmc.Text("Has not run yet.", size="sm", c="dimmed")
    job = states.get(look.last_job or "")
    said = dmc.Text(f"Last: {_there(look.last_due)}", size="sm")
    if job is None:
        return dmc.Group([said, dmc.Text("Its job is no longer kept.", size="sm", c="dimmed")], gap="xs")
    state = State(job["state"])
    badge = link(dmc.Badge(state.value, color=COLOURS[state], variant="light"), address.format(id=job["id"]))
    error = dmc.Text(job["error"], size="sm", c="dimmed", lineClamp=2, style=BREAKING)
    return dmc.Group([said, badge, error], gap="xs")


def _missed(look: ScheduleStatus, watermark: float) -> datetime | None:
    """The last moment that was due, is over for a while, and has not fired."""
    since = datetime.fromtimestamp(watermark, look.now.tzinfo)
    until = look.now - LATE
    return look.schedule.last_between(since, until) if since < until else None


def _there(at: datetime) -> str:
    return f"{at:%a %Y-%m-%d %H:%M:%S %Z}"
