"""The list's columns, and a job as a row of it: texts, which the browser shows as such."""

from typing import Any

from jobqueue.dash.formatting import ago, span
from jobqueue.dash.panel_view import COLOURS
from jobqueue.database.database import Row
from jobqueue.ledger.states import State

LONGEST = 300  # characters of what is said of a job

OPTIONS: dict[str, Any] = {
    "domLayout": "autoHeight",
    "rowSelection": {"mode": "multiRow", "enableClickSelection": False},
    "selectionColumnDef": {"width": 44, "maxWidth": 44, "suppressSizeToFit": True},
    "suppressCellFocus": False,
    "animateRows": False,
    "tooltipShowDelay": 600,
    "enableCellTextSelection": True,
    "ensureDomOrder": True,
    "suppressNoRowsOverlay": True,
}


def columns(with_owner: bool) -> list[dict[str, Any]]:
    """On a narrow screen `below` stands for all but the state (assets/jobs.js)."""
    colours = {state.value: colour for state, colour in COLOURS.items()}
    return [
        {"field": "state", "headerName": "State", "width": 136, "maxWidth": 136, "cellRenderer": "JobState",
         "cellRendererParams": {"colours": colours}},
        {"field": "name", "headerName": "Task", "minWidth": 110, "flex": 2, "cellRenderer": "JobLink",
         "tooltipField": "task"},
        {"field": "below", "headerName": "Task", "hide": True, "flex": 1, "cellRenderer": "JobBelow"},
        {"field": "says", "headerName": "How it is", "minWidth": 140, "flex": 4, "tooltipField": "says"},
        *([{"field": "owner", "headerName": "Owner", "minWidth": 90, "flex": 1, "tooltipField": "owner"}]
          if with_owner else []),
        {"field": "queue", "headerName": "Queue", "minWidth": 112, "flex": 1, "tooltipField": "queue"},
        {"field": "attempt", "headerName": "Attempt", "width": 90, "maxWidth": 90},
        {"field": "waited", "headerName": "Waited", "width": 90, "maxWidth": 100},
        {"field": "ran", "headerName": "Ran", "width": 90, "maxWidth": 100},
        {"field": "created", "headerName": "Submitted", "width": 120, "maxWidth": 130},
    ]  # fmt: skip


def row(row: Row, address: str) -> dict[str, Any]:
    state, now = State(row["state"]), row["now"]
    began, ended = row["claimed_at"], row["ended_at"]
    waited = ran = None
    if state is State.QUEUED:
        waited = now - row["queued_at"]
    elif began is not None and began >= row["queued_at"]:
        waited = began - row["queued_at"]
    if began is not None and (state is State.RUNNING or ended is not None):
        ran = (now if ended is None else ended) - began
    says, created = _says(row, state)[:LONGEST], ago(now - row["created_at"])
    return {
        "id": row["id"],
        "address": address,
        "state": state.value,
        "task": row["task"],
        "name": row["task"].rpartition(".")[2],
        "says": says,
        "below": f"{created} {says}",  # which is drawn anew when either has changed
        "owner": row["owner"] or "",
        "queue": row["queue"],
        "attempt": str(row["attempt"] or ""),
        "waited": span(waited),
        "ran": span(ran),
        "created": created,
    }


def _says(row: Row, state: State) -> str:
    match state:
        case State.RUNNING if row["total"]:
            return f"{row['done']:g} of {row['total']:g}" + (f": {row['note']}" if row["note"] else "")
        case State.SCHEDULED if row["run_at"] is not None:
            when = f"starts in {span(row['run_at'] - row['now'])}"
            return f"{when}: {row['error']}" if row["error"] else when
        case State.WAITING:
            return "waits for another job"
        case State.FAILED | State.CANCELLED:
            return str(row["error"]).partition("\n")[0]
    return ""
