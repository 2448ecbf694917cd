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
from jobqueue import Job, QueueUnavailable, Unreadable
from jobqueue import State as JobState
from jobqueue.dash.panel_view import try_again

from app import visible
from app.jobs.analysis import analyse
from app.pages import analysis_results as results
from app.portfolio import request
from app.portfolio.universe import DAYS_PER_YEAR, FIRST_DAY, LAST_DAY, SYMBOLS

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
                    dmc.GridCol(
                        opened(job, beside), span={"base": 12, "md": 9}, order={"base": 1 if job else 2, "md": 2}
                    ),
                ],
                gutter="xl",
            ),
            dcc.Store(id="analysis-ids", data={"job": job, "beside": beside}),
            dcc.Interval(id="analysis-tick", interval=5000),
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
                _days("training", "Training window", "Trading days it is fitted to", values),
                _days("rebalance", "Rebalanced every", "Trading days it is held", values),
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


def opened(job_id: Any, beside_id: Any) -> Component:
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
    )
    return html.Div([panel(job_id, beside=beside_id) if job_id else introduction, html.Div(id="analysis-past")])


def find(job_id: Any) -> Job | None:
    return visible.get_job(job_id) if job_id else None


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
        handle = analyse(**wanted, id=visible.id_of_form(job_id))
    except QueueUnavailable:
        return no_update, try_again(), *none_is_wrong
    return address(handle.id), None, *none_is_wrong


@callback(
    Output("analysis-past", "children"),
    Output("analysis-tick", "disabled"),
    Input("analysis-tick", "n_intervals"),
    State("analysis-ids", "data"),
)
def list_past(_: int | None, ids: dict[str, Any]) -> tuple[Component | None, bool]:
    """What was analysed before; listed again while the open job goes on."""
    job = find(ids["job"])
    return past(ids["job"], ids["beside"]), job is None or job.state.ended


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
    text = results.as_file(what, visible.result(job.id), request.in_words(asked(job) or DEFAULTS))
    return {"content": text, "filename": f"analysis-{job.id[:8]}-{what}.{results.DOWNLOADS[what].suffix}"}


def address(job_id: str, beside: str | None = None) -> str:
    return "?" + urlencode({"job": job_id} | ({"beside": beside} if beside else {}))


def heading(job: Job) -> str:
    wanted = asked(job)
    return request.in_words(wanted) if wanted else "An analysis; what was asked cannot be told."


def report(result: dict[str, Any], beside: Any = None) -> Component:
    """What came of it, with the results of the analysis that is laid beside it."""
    other = find(beside) if visible.there(beside) else None
    if not beside:
        return results.report(result)
    if other is None or other.state is not JobState.SUCCEEDED or asked(other) is None:
        note = dmc.Alert("The analysis to lay beside this one is not there, or has no result.", color="yellow", mt="md")
        return html.Div([note, results.report(result)])
    note = dmc.Text(
        ["Beside it: ", request.in_words(asked(other) or DEFAULTS), ", over the days that both cover."],
        mt="md",
        c="orange",
    )
    return html.Div([note, results.report(result, visible.result(other.id))])


panel = visible.Panel(__name__, task=analyse, show=report, title=heading)


def past(open_id: str | None, beside_id: str | None) -> Component | None:
    """The latest analyses, to open or to lay beside the one that is open."""
    jobs = visible.jobs(task=analyse, limit=20)
    if not jobs:
        return None
    rows = [
        dmc.TableTr(
            [
                dmc.TableTd(
                    [
                        request.in_words(asked(job) or DEFAULTS) if asked(job) else "cannot be told",
                        dmc.Text(f"{job.created_at:%Y-%m-%d %H:%M} UTC · {job.state.value}", size="sm", c="dimmed"),
                    ]
                ),
                dmc.TableTd(dmc.Group(_links(job, open_id, beside_id), gap="sm", justify="flex-end")),
            ]
        )
        for job in jobs
    ]
    return dmc.Stack(
        [
            dmc.Title("Past analyses", order=3, mt="xl"),
            dmc.Table(dmc.TableTbody(rows), highlightOnHover=True, **{"aria-label": "Past analyses"}),
        ]
    )


def _links(job: Job, open_id: str | None, beside_id: str | None) -> list[Component]:
    if job.id == open_id:
        return [dmc.Text("is open", size="sm", c="dimmed")]
    links = [_link("open", job.id)]
    if open_id and job.id == beside_id:
        links.append(_link("take away", open_id))
    elif open_id and job.state is JobState.SUCCEEDED:
        links.append(_link("lay beside", open_id, job.id))
    return links


def _link(words: str, open_id: str, beside_id: str | None = None) -> Component:
    return dmc.Anchor(words, href=PATH + address(open_id, beside_id), size="sm", style={"whiteSpace": "nowrap"})
