"""Told when a job ends: a notice on whatever page its owner has open, and "My jobs" in the header with a count.

assets/job_notices.js asks for the news of the visitor's own jobs, and shows what it has not shown yet. Where nobody logs in,
jobs have no owner, and the browser asks for the jobs whose panels it has shown.
"""

import contextlib
import json
from typing import Any
from urllib.parse import urlencode

import dash
import dash_mantine_components as dmc
from dash import Dash, hooks
from dash.development.base_component import Component
from flask import Response, request
from plotly.utils import PlotlyJSONEncoder
from werkzeug.exceptions import Unauthorized

from jobqueue.dash.access import Access, Viewer
from jobqueue.dash.background import is_callback
from jobqueue.dash.formatting import plural
from jobqueue.dash.panel import panel_of_task
from jobqueue.dash.panel_view import BREAKING, COLOURS
from jobqueue.dash.status_text import sentence
from jobqueue.database.database import DatabaseUnavailable, Row
from jobqueue.jobs.job import Job, JobNotFound
from jobqueue.ledger.states import State
from jobqueue.monitoring.own_jobs import News, news
from jobqueue.text import TITLE, is_storable, said

ADDRESS = "_jobs/mine"  # below the app's URL prefix
LATEST_S = 3600.0  # seconds after its end in which a job is told of
MOST_IDS = 20  # jobs of a browser where nobody logs in
MOST_NOTICES = 3  # at once; more jobs share one
SHOWN_MS = 20_000  # milliseconds for which a notice of a success is shown. Other notices stay
LONGEST = 300  # characters of a sentence

IDLE = {"base": "none", "sm": "flex"}  # how the entry is displayed without active jobs: a phone has the menu alone

hooks.script([{"namespace": "jobqueue", "relative_package_path": "dash/assets/job_notices.js"}])


def my_jobs(access: Access) -> Component:
    """Return the entry "My jobs" of a header: a link to the visitor's jobs, with the number of those that are active.

    The browser asks for news only while this entry is on the page.
    """
    who: Viewer | None = None
    with contextlib.suppress(Unauthorized):  # Dash makes a layout of its own at the first request, whoever sent that
        who = access.viewer()
    query = f"?{urlencode({'owner': who.name})}" if who is not None and who.admin else ""
    asks = {"data-news": dash.get_relative_path(f"/{ADDRESS}"), "data-whose": "browser" if who is None else "visitor"}
    return dmc.Anchor(
        [
            dmc.Text("My jobs", size="sm", visibleFrom="sm", style={"whiteSpace": "nowrap"}),
            dmc.Badge("", id="my-jobs-active", size="sm", display="none", style={"flexShrink": 0}),
        ],
        id="my-jobs",
        href=dash.get_relative_path("/jobs") + query,
        underline="never",
        c="inherit",
        display=IDLE,
        style={"alignItems": "center", "gap": 6},
        **asks,
    )


class JobNotices:
    """The address that answers what is new about the visitor's own jobs."""

    def __init__(self, access: Access) -> None:
        self.access = access

    def register(self, app: Dash) -> None:
        """Serve the address below the app's URL prefix."""
        rule = f"{app.config.routes_pathname_prefix}{ADDRESS}"
        app.server.add_url_rule(rule, rule, self.answer)

    def answer(self) -> Response:
        """Return the news as JSON: `active`, a number, and `ended`. With `tell`, return the `notices` of those that it names.

        Return 204 if the database does not answer.
        """
        try:
            current = self._news()
            keys = request.args.getlist("tell")
            if keys:
                answer: dict[str, Any] = {"notices": self._notices(current, keys)}
            else:
                ended = [{"key": _key(row), "id": row["id"], "age": row["age_s"]} for row in current.ended]
                answer = {"active": current.active, "ended": ended}
        except DatabaseUnavailable:
            return Response(status=204)
        body = json.dumps(answer, cls=PlotlyJSONEncoder)
        return Response(body, mimetype="application/json", headers={"Cache-Control": "no-store"})

    def _news(self) -> News:
        viewer = self.access.viewer()
        within = min(max(request.args.get("within", 0.0, float), 0.0), LATEST_S)
        ids = [job_id for job_id in request.args.getlist("id")[:MOST_IDS] if is_storable(job_id)]
        found = news(self.access.huey.ledger.database, ids if viewer is None else viewer.name, within)
        # A background callback belongs to its page, which shows its end.
        ended = [row for row in found.ended if not is_callback(row["task"])]
        return News(active=found.active, ended=ended)

    def _notices(self, current: News, keys: list[str]) -> list[dict[str, Any]]:
        """Return notices of the ended jobs with these keys: each with its `key`, and `shown` as `sendNotifications` takes it."""
        wanted = set(keys)
        rows = [row for row in current.ended if _key(row) in wanted]
        if len(rows) > MOST_NOTICES:
            return [_of_many(rows)]
        notices = []
        for row in rows:
            try:
                job = self.access.huey.get_job(row["id"])
            except JobNotFound:  # deleted meanwhile
                continue
            if job.state.ended:
                notices.append(_of_one(_key(row), job))
        return notices


def _key(row: Row) -> str:
    """Return the name of one end of a job. A job that is retried has another end."""
    return f"{row['id']}@{row['ended_at']:.3f}"


def _of_one(key: str, job: Job) -> dict[str, Any]:
    title, address = _title_and_page(job)
    words = sentence(job)
    words = words if len(words) <= LONGEST else f"{words[: LONGEST - 1]}…"
    return _notice(key, title, words, address, job.state)


def _of_many(rows: list[Row]) -> dict[str, Any]:
    states = [State(row["state"]) for row in rows]
    counts = [f"{states.count(state)} {state}" for state in State if state in states]
    worst = next(state for state in (State.FAILED, State.CANCELLED, State.SUCCEEDED) if state in states)
    title, words = f"{plural(len(states), 'job')} ended", f"{', '.join(counts)}.".capitalize()
    return _notice(_key(rows[-1]), title, words, dash.get_relative_path("/jobs"), worst)


def _notice(key: str, title: str, words: str, address: str, state: State) -> dict[str, Any]:
    link = dmc.Anchor("Open", id=f"ended:{key}", href=address, size="sm", refresh=False)
    shown = {
        "action": "show",
        "id": f"ended:{key}",
        "title": dmc.Text(title, size="sm", fw=500, lineClamp=2, style=BREAKING),
        "message": dmc.Text([dmc.Text(words, size="sm", lineClamp=4, style=BREAKING), link]),
        "color": COLOURS[state],
        "autoClose": SHOWN_MS if state is State.SUCCEEDED else False,
        "closeButtonProps": {"aria-label": "Close"},
    }
    return {"key": key, "shown": shown}


def _title_and_page(job: Job) -> tuple[str, str]:
    """Return the heading and the address that the panel of the job's task has, or the task's name and the job's own page."""
    title, address = "", dash.get_relative_path(f"/jobs/{job.id}")
    panel = panel_of_task(job.task)
    if panel is not None:
        title = said(panel.title(job), TITLE) if panel.title else ""
        page = dash.page_registry.get(panel.name)
        if panel.address.startswith("/"):
            address = dash.get_relative_path(panel.address.format(id=job.id))
        elif page is not None and not page["path_template"]:
            address = dash.get_relative_path(page["path"]) + panel.address.format(id=job.id)
    return title or job.name, address
