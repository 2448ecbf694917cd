"""The button "Download" and what it opens: a line for each part of a result, with its formats."""

from collections.abc import Callable
from urllib.parse import urlencode

import dash_mantine_components as dmc
from dash import hooks
from dash.development.base_component import Component

from jobqueue.dash.downloads.formats import PICTURE, Part
from jobqueue.dash.downloads.serving import Downloads
from jobqueue.dash.panel_view import BREAKING
from jobqueue.database.database import DatabaseUnavailable
from jobqueue.jobs.job import Job

NOTHING = "This job returned nothing to download."
ALL = "Everything"
UNAVAILABLE = "The database does not answer. Try again in a moment."

hooks.script([{"namespace": "jobqueue", "relative_package_path": "dash/assets/downloads.js"}])


def button(opens: dict[str, str], shows: dict[str, str]) -> Component:
    """Return the button, and the box that it opens.

    A callback on the clicks of `opens` fills `shows` with `choices`. So a large result is read only if somebody wants a file.
    """
    closed = dmc.Button("Download", id=opens, variant="light", size="compact-sm", **{"aria-haspopup": "true"})
    box = dmc.Box(dmc.Skeleton(height=24, width=160), id=shows)
    opened = dmc.PopoverDropdown(box, maw="min(400px, calc(100vw - 32px))", mah="60vh", style={"overflow": "auto"})
    return dmc.Popover(
        [dmc.PopoverTarget(closed), opened],
        position="bottom-start",
        shadow="md",
        trapFocus=True,
        withRoles=False,  # it would give the roles to a box around the button
    )


def choices(downloads: Downloads, find: Callable[[], Job | None], address: str) -> Component:
    """Return the files of a job's result as links to `address`, whose query says which one.

    :param find: returns the job. None for one that offers no files.
    :param address: ends with "?", or with "&" after a query of its own.
    """
    try:
        job = find()
        if job is None or not (parts := downloads.parts(job)):
            return dmc.Text(NOTHING, size="sm")
    except DatabaseUnavailable:
        return dmc.Text(UNAVAILABLE, size="sm")
    lines = []
    for number, part in enumerate(parts):
        name = part.name or (ALL if len(parts) > 1 else "")
        addresses = {kind.ending: address + urlencode({"part": number, "kind": kind.ending}) for kind in part.formats}
        lines.append(_line(downloads, job, part, name, addresses))
    return dmc.Stack(lines, gap="xs")


def _line(downloads: Downloads, job: Job, part: Part, name: str, addresses: dict[str, str]) -> Component:
    """Return the name of a part, a link for each format, and why there is none for a format."""
    links: list[Component] = []
    reasons: list[Component] = []
    for kind in part.formats:
        if why_not := kind.why_not(part.value):
            links.append(dmc.Text(kind.label, size="sm", c="dimmed", td="line-through", **{"aria-disabled": "true"}))
            reasons.append(dmc.Text(why_not, size="xs", c="dimmed", maw=320, style=BREAKING))
        else:
            picture = {"data-picture": downloads.name(job, part, kind)} if kind.ending == PICTURE else {}
            links.append(dmc.Anchor(kind.label, href=addresses[kind.ending], refresh=True, size="sm", **picture))
    head = [dmc.Text(name, size="sm", fw=500, style=BREAKING)] if name else []
    return dmc.Box([*head, dmc.Group(links, gap="md"), *reasons])
