"""The portfolio analysis: what to analyse, the job that does it, what came of it, and what was analysed before.

The address says which job is open (`?job=...`) and which is laid beside it (`&beside=...`), so it can be kept and passed on.
"""

import uuid
from typing import Any
from urllib.parse import urlencode

import dash
import dash_mantine_components as dmc
from dash import Input, Output, State, callback, ctx, dcc, html, no_update
from dash.development.base_component import Component

from app.job_status import Glance, glance, job_status, no_such_job, try_again
from app.jobs import huey
from app.jobs.analysis import analyse
from app.pages import analysis_results as results
from app.portfolio import request
from app.portfolio.universe import DAYS_PER_YEAR, FIRST_DAY, LAST_DAY, SYMBOLS
from jobqueue import Job, JobNotFound, QueueUnavailable, Unreadable
from jobqueue import State as JobState

PATH = "/analysis"
FIELDS = ("assets", "risk", "training", "rebalance", "cap")
DEFAULTS = {"assets": list(SYMBOLS), "risk": "cvar", "training": 1260, "rebalance": 21, "cap": 1.0}

dash.register_page(__name__, path=PATH, name="Analysis", order=0)


def layout(job: Any = None, beside: Any = None, **_: object) -> Component:
    """On a phone what was asked for comes first, and the form after it."""
    wanted = form(asked(find(job)) or DEFAULTS)
    return html.Div(
        [
            dmc.Grid(
                [
                    dmc.GridCol(wanted, span={"base": 12, "md": 3}, order={"base": 2 if job else 1, "md": 1}),
                    dmc.GridCol(panel(job), span={"base": 12, "md": 9}, order={"base": 1 if job else 2, "md": 2}),
                ],
                gutter="xl",
            ),
            dcc.Store(id="analysis-ids", data={"job": job, "beside": beside}),
            dcc.Store(id="analysis-glance"),
            dcc.Interval(id="analysis-tick", interval=1000),
            dcc.Location(id="analysis-address", refresh="callback-nav"),
            dcc.Download(id="analysis-download"),
        ]
    )


def form(values: dict[str, Any]) -> Component:
    """What to analyse; filled with what the open job was asked."""
    return dmc.Paper(
        dmc.Stack(
            [
                dmc.MultiSelect(
                    id="analysis-assets",
                    label="Assets",
                    data=list(SYMBOLS),
                    value=list(values["assets"]),
                    searchable=True,
                    clearable=True,
                    maxDropdownHeight=300,
                ),
                dmc.RadioGroup(
                    dmc.Group([dmc.Radio(label=label, value=risk) for risk, label in request.RISKS.items()]),
                    id="analysis-risk",
                    label="Risk to make as small as possible",
                    value=values["risk"],
                ),
                _days("training", "Training window", "Trading days that each portfolio is fitted to", values),
                _days("rebalance", "Rebalanced every", "Trading days that it is held", values),
                dmc.NumberInput(
                    id="analysis-cap",
                    label="Weight of one asset, at most",
                    value=100 * values["cap"],
                    suffix=" %",
                    allowNegative=False,
                    clampBehavior="none",
                    decimalScale=2,
                ),
                dmc.Button("Start the analysis", id="analysis-start", fullWidth=True),
                html.Div(id="analysis-trouble"),
                dmc.Text(
                    f"Prices of {len(SYMBOLS)} US stocks, {FIRST_DAY:%Y} to {LAST_DAY:%Y}; {DAYS_PER_YEAR} trading days a year.",
                    size="xs",
                    c="dimmed",
                ),
                # The id of the job that this form makes: submitted twice, it is one job.
                dcc.Store(id="analysis-next", data=str(uuid.uuid4())),
            ],
            gap="sm",
        ),
        withBorder=True,
        p="md",
        radius="md",
    )


def _days(field: str, label: str, description: str, values: dict[str, Any]) -> Component:
    return dmc.NumberInput(
        id=f"analysis-{field}",
        label=label,
        description=description,
        value=values[field],
        step=21,
        allowDecimal=False,
        allowNegative=False,
        clampBehavior="none",
        suffix=" days",
    )


def panel(job_id: Any) -> Component:
    """The open job and what can be done with it; without one, what this page is for."""
    introduction = dmc.Stack(
        [
            dmc.Title("Walk-forward analysis", order=2),
            dmc.Text(
                "A portfolio is fitted to the days of the training window, held until the next rebalancing, then fitted again, "
                f"from {FIRST_DAY:%Y} to {LAST_DAY:%Y}: what it would have earned without knowing the future."
            ),
            dmc.Text(
                "An analysis is a job: it goes on when this page is closed, and where it was when its worker dies. "
                "Its address shows it again, here or in another browser."
            ),
        ],
        gap="sm",
        display="none" if job_id else None,
    )
    buttons = dmc.Group(
        [
            dmc.Button("Cancel", id="analysis-cancel", display="none", variant="light", color="red", size="compact-sm"),
            dmc.Button("Run again", id="analysis-again", display="none", variant="light", size="compact-sm"),
        ]
    )
    shown = ["asked", "job", "results", "past"]
    parts = {name: html.Div(id=f"analysis-{name}") for name in shown}
    return html.Div(
        [introduction, dmc.Stack([parts["asked"], parts["job"], buttons], gap="sm"), parts["results"], parts["past"]]
    )


def find(job_id: Any) -> Job | None:
    try:
        return huey.look(str(job_id)) if job_id else None
    except JobNotFound:
        return None


def asked(job: Job | None) -> dict[str, Any] | None:
    """What a job of `analyse` was asked, all fields of it; None where it cannot be read, or makes no sense."""
    if job is None or job.name != "analyse":
        return None
    try:
        request_ = DEFAULTS | dict(zip(FIELDS, job.args, strict=False)) | job.kwargs
    except Unreadable:
        return None
    return request_ if not request.errors(**request_) else None


@callback(
    Output("analysis-address", "search"),
    Output("analysis-trouble", "children"),
    *[Output(f"analysis-{field}", "error") for field in FIELDS],
    Input("analysis-start", "n_clicks"),
    State("analysis-next", "data"),
    *[State(f"analysis-{field}", "value") for field in FIELDS],
    running=[(Output("analysis-start", "loading"), True, False)],
    prevent_initial_call=True,
)
def start(_: int, job_id: str, *values: Any) -> tuple[Any, ...]:
    """Refused before a job is made, each error beside its field; or a job, and the page at its address."""
    wanted = dict(zip(FIELDS, values, strict=True))
    if isinstance(wanted["cap"], int | float):
        wanted["cap"] /= 100
    if wrong := request.errors(**wanted):
        return no_update, None, *(wrong.get(field) for field in FIELDS)
    none_is_wrong = [None for _ in FIELDS]
    try:
        handle = analyse(**wanted, id=str(uuid.UUID(job_id)))
    except QueueUnavailable:
        return no_update, try_again(), *none_is_wrong
    return address(handle.id), None, *none_is_wrong


@callback(
    output={
        "asked": Output("analysis-asked", "children"),
        "job": Output("analysis-job", "children"),
        "cancel": Output("analysis-cancel", "display"),
        "again": Output("analysis-again", "display"),
        "again_label": Output("analysis-again", "children"),
        "results": Output("analysis-results", "children"),
        "past": Output("analysis-past", "children"),
        "glance": Output("analysis-glance", "data"),
        "at_rest": Output("analysis-tick", "disabled"),
    },
    inputs={"tick": Input("analysis-tick", "n_intervals")},
    state={"ids": State("analysis-ids", "data"), "earlier": State("analysis-glance", "data")},
)
def show(tick: int | None, ids: dict[str, Any], earlier: dict[str, Any] | None) -> dict[str, Any]:
    """The job as it is now; looked at again each second until it has ended, and every fifth time at the others too."""
    job = find(ids["job"])
    if job is None:
        return {
            "asked": None,
            "job": no_such_job(ids["job"]) if ids["job"] else None,
            "cancel": "none",
            "again": "none",
            "again_label": no_update,
            "results": None,
            "past": past(None, None),
            "glance": None,
            "at_rest": True,
        }
    ended = job.state.ended
    since = glance(job, Glance(**earlier) if earlier else None)
    return {
        "asked": heading(job),
        "job": job_status(job, since),
        "cancel": "none" if ended else "block",
        "again": "block" if ended and asked(job) else "none",
        "again_label": "Run again" if job.state is JobState.SUCCEEDED else "Try again",
        "results": compared(job, ids["beside"]) if job.state is JobState.SUCCEEDED and asked(job) else None,
        "past": past(job.id, ids["beside"]) if ended or (tick or 0) % 5 == 0 else no_update,
        "glance": None if since is None else vars(since),
        "at_rest": ended,
    }


@callback(
    Input("analysis-cancel", "n_clicks"),
    State("analysis-ids", "data"),
    running=[(Output("analysis-cancel", "loading"), True, False)],
    prevent_initial_call=True,
)
def cancel(_: int, ids: dict[str, Any]) -> None:
    """The next look shows it."""
    huey.job(str(ids["job"])).cancel()


@callback(
    Output("analysis-address", "search", allow_duplicate=True),
    Output("analysis-tick", "disabled", allow_duplicate=True),
    Input("analysis-again", "n_clicks"),
    State("analysis-ids", "data"),
    State("analysis-next", "data"),
    running=[(Output("analysis-again", "loading"), True, False)],
    prevent_initial_call=True,
)
def again(_: int, ids: dict[str, Any], next_id: str) -> tuple[Any, Any]:
    """Put a failed or cancelled job back, whose windows are kept; a successful one is asked for once more."""
    handle = huey.job(str(ids["job"]))
    if handle.retry():
        return no_update, False
    another = analyse(**(asked(handle.look()) or DEFAULTS), id=str(uuid.UUID(next_id)))
    return address(another.id), no_update


@callback(
    Output("analysis-download", "data"),
    *[Input(f"analysis-get-{what}", "n_clicks") for what in results.DOWNLOADS],
    State("analysis-ids", "data"),
    prevent_initial_call=True,
)
def download(*arguments: Any) -> Any:
    *clicks, ids = arguments
    job = find(ids["job"])
    if not any(clicks) or job is None or job.state is not JobState.SUCCEEDED:
        return no_update
    what = str(ctx.triggered_id).removeprefix("analysis-get-")
    text = results.as_file(what, huey.result(job.id), request.in_words(asked(job) or DEFAULTS))
    return {"content": text, "filename": f"analysis-{job.id[:8]}-{what}.{results.DOWNLOADS[what].suffix}"}


def address(job_id: str, beside: str | None = None) -> str:
    return "?" + urlencode({"job": job_id} | ({"beside": beside} if beside else {}))


def heading(job: Job) -> Component:
    wanted = asked(job)
    return dmc.Text(request.in_words(wanted) if wanted else f"A job of the task {job.name}", fw=600)


def compared(job: Job, beside_id: Any) -> Component:
    """The results, with those of the analysis that is laid beside it."""
    beside = find(beside_id)
    if not beside_id:
        return results.report(huey.result(job.id))
    if beside is None or beside.state is not JobState.SUCCEEDED or asked(beside) is None:
        note = dmc.Alert("The analysis to lay beside this one is not there, or has no result.", color="yellow", mt="md")
        return html.Div([note, results.report(huey.result(job.id))])
    note = dmc.Text(
        ["Beside it: ", request.in_words(asked(beside) or DEFAULTS), ", over the days that both cover."],
        mt="md",
        c="orange",
    )
    return html.Div([note, results.report(huey.result(job.id), huey.result(beside.id))])


def past(open_id: str | None, beside_id: str | None) -> Component | None:
    """The latest analyses, to open or to lay beside the one that is open."""
    jobs = huey.jobs(task=analyse, limit=20)
    if not jobs:
        return None
    rows = [
        dmc.TableTr(
            [
                dmc.TableTd(job.created_at.strftime("%Y-%m-%d %H:%M UTC"), style={"whiteSpace": "nowrap"}),
                dmc.TableTd(request.in_words(asked(job) or DEFAULTS) if asked(job) else "cannot be told"),
                dmc.TableTd(job.state.value),
                dmc.TableTd(dmc.Group(_links(job, open_id, beside_id), gap="sm", wrap="nowrap")),
            ]
        )
        for job in jobs
    ]
    head = dmc.TableThead(dmc.TableTr([dmc.TableTh(name) for name in ("Asked at", "What", "State", "")]))
    return dmc.Stack(
        [
            dmc.Title("Past analyses", order=3, mt="xl"),
            dmc.TableScrollContainer(dmc.Table([head, dmc.TableTbody(rows)], highlightOnHover=True), minWidth=640),
        ]
    )


def _links(job: Job, open_id: str | None, beside_id: str | None) -> list[Component]:
    if job.id == open_id:
        return [dmc.Text("is open", size="sm", c="dimmed")]
    links = [dmc.Anchor("open", href=PATH + address(job.id), size="sm")]
    if open_id and job.id == beside_id:
        links.append(dmc.Anchor("take away", href=PATH + address(open_id), size="sm"))
    elif open_id and job.state is JobState.SUCCEEDED:
        links.append(dmc.Anchor("lay beside", href=PATH + address(open_id, job.id), size="sm"))
    return links
