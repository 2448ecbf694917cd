"""The list of jobs as a table. Texts that change by themselves, such as ages, are replaced in place by assets/jobs.js."""

from typing import Any

import dash_mantine_components as dmc
from dash import html
from dash.development.base_component import Component

from jobqueue.dash.error_text import for_users
from jobqueue.dash.formatting import ago, span
from jobqueue.dash.pages.text import link, spoken
from jobqueue.dash.panel_view import COLOURS
from jobqueue.database.database import Row
from jobqueue.ledger.states import State
from jobqueue.text import LISTED

LIVE = ("says", "waited", "ran", "created")  # texts that change while nothing happens to the job
NARROW: dict[str, Any] = {"className": "jobs-narrow"}  # shown on a narrow screen only
WIDE: dict[str, Any] = {"className": "jobs-wide"}  # hidden there


def describe(row: Row, address: str, *, operator: bool) -> dict[str, str]:
    """Return a job's texts, by column.

    :param operator: whether the reader operates the app, and reads errors of the queue with their remedies.
    """
    state, now = State(row["state"]), row["now"]
    began, ended = row["claimed_at"], row["ended_at"]
    waited = ran = None
    if state is State.QUEUED:
        waited = now - row["queued_at"]
    elif began is not None and began >= row["queued_at"]:
        waited = began - row["queued_at"]
    if began is not None and (state is State.RUNNING or ended is not None):
        ran = (now if ended is None else ended) - began
    says = _says(row, state, operator)
    return {
        "id": row["id"],
        "address": address,
        "state": state.value,
        "task": row["task"],
        "name": row["task"].rpartition(".")[2],
        "says": says if len(says) <= LISTED else f"{says[:LISTED]}…",
        "owner": row["owner"] or "",
        "queue": row["queue"],
        "attempt": str(row["attempt"] or ""),
        "waited": span(waited),
        "ran": span(ran),
        "created": ago(now - row["created_at"]),
    }


def live(jobs: list[dict[str, str]]) -> dict[str, dict[str, str]]:
    """Return for each job's id its state, and the texts that the browser replaces in place."""
    return {job["id"]: {name: job[name] for name in ("state", *LIVE)} for job in jobs}


def lasting(jobs: list[dict[str, str]]) -> list[dict[str, str]]:
    """Return the other texts. The table is sent again when one of them has changed."""
    return [{name: text for name, text in job.items() if name not in LIVE} for job in jobs]


def table(jobs: list[dict[str, str]], with_owner: bool) -> Component:
    """Return the table. On a narrow screen the task's column has the other columns' texts in a second line."""
    owner: list[tuple[Component | str, dict[str, Any]]] = [("Owner", WIDE)] if with_owner else []
    heads: list[tuple[Component | str, dict[str, Any]]] = [
        (dmc.VisuallyHidden("Select"), {}), ("State", {}), ("Task", {}), ("Details", WIDE), *owner, ("Queue", WIDE), ("Attempt", WIDE),
        ("Waited", WIDE), ("Ran", WIDE), ("Submitted", WIDE),
    ]  # fmt: skip
    head = dmc.TableThead(dmc.TableTr([dmc.TableTh(text, **where) for text, where in heads]))
    body = dmc.TableTbody([_row(job, with_owner) for job in jobs])
    return dmc.Table([head, body], className="jobs-table", highlightOnHover=True, **spoken(label="List of jobs"))


def _row(job: dict[str, str], with_owner: bool) -> Component:
    colour = COLOURS[State(job["state"])]
    below = html.Div([_live(job, "created"), " ", _live(job, "says")], **NARROW)
    return dmc.TableTr(
        [
            dmc.TableTd(dmc.Checkbox(value=job["id"], size="xs", **spoken(label=f"Select {job['name']}"))),
            dmc.TableTd(dmc.Badge(job["state"], color=colour, variant="light"), className="jobs-state"),
            dmc.TableTd([html.Span(link(job["name"], job["address"], underline="always"), title=job["task"]), below], className="jobs-task"),
            dmc.TableTd(_live(job, "says"), className="jobs-wide jobs-says"),
            *([dmc.TableTd(job["owner"], **WIDE)] if with_owner else []),
            dmc.TableTd(job["queue"], **WIDE),
            dmc.TableTd(job["attempt"], **WIDE),
            *(dmc.TableTd(_live(job, name), **WIDE) for name in ("waited", "ran", "created")),
        ]
    )  # fmt: skip


def _live(job: dict[str, str], name: str) -> Component:
    attributes: dict[str, Any] = {"data-job": job["id"], "data-text": name}
    if name == "says":
        attributes["title"] = job[name]
    return html.Span(job[name], **attributes)


def _says(row: Row, state: State, operator: bool) -> str:
    error = str(row["error"] or "") if operator else for_users(str(row["error"] or ""))
    match state:
        case State.RUNNING if row["total"]:
            return f"{row['done']:g} of {row['total']:g}" + (f": {row['note']}" if row["note"] else "")
        case State.SCHEDULED if row["run_at"] is not None:
            when = f"starts in {span(row['run_at'] - row['now'])}"
            return f"{when}: {error}" if error else when
        case State.WAITING:
            return "waiting for another job"
        case State.FAILED | State.CANCELLED:
            return error.partition("\n")[0]
    return ""
