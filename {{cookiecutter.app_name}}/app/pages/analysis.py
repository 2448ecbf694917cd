"""The analysis page: a form, the job that it starts, the job's result, and past analyses.

The address names the open job (`?job=...`) and a second one to compare it with (`&beside=...`).
"""

import uuid
from typing import Any
from urllib.parse import urlencode

import dash
import dash_mantine_components as dmc
from dash import Input, Output, State, callback, dcc, html, no_update
from dash.development.base_component import Component
from dash.exceptions import PreventUpdate
from jobqueue import DatabaseUnavailable, FileRefused, Job, JobHandle, Unreadable
from jobqueue import State as JobState
from jobqueue.dash.panel_view import out_of_touch

from app.access import jobs
from app.jobs.analysis import analyse
from app.pages import analysis_results as results
from app.portfolio import request
from app.portfolio.universe import DAYS_PER_YEAR, FIRST_DAY, LAST_DAY, SYMBOLS

PATH = "/analysis"
FIELDS = ("assets", "risk", "training", "rebalance", "cap")
LARGEST = 100_000  # bytes of a file with assets that are read
DEFAULTS = {"assets": list(SYMBOLS), "risk": "cvar", "training": 1260, "rebalance": 21, "cap": 1.0}

dash.register_page(__name__, path=PATH, name="Analysis", order=0)


def layout(job: Any = None, beside: Any = None, **_: object) -> Component:
    """On a phone the open job comes first, and the form after it."""
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
        ]
    )


def form(values: dict[str, Any]) -> Component:
    """Return the form, filled with the arguments of the open job."""
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
                jobs.upload("analysis-file", "Or take the assets from a file", accept=".csv"),
                dmc.RadioGroup(
                    dmc.Group([dmc.Radio(label=label, value=risk) for risk, label in request.RISKS.items()]),
                    id="analysis-risk",
                    label="Risk to minimise",
                    value=values["risk"],
                ),
                _days("training", "Training window", "Trading days that a portfolio is fitted to", values),
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
                dmc.Text(
                    f"Prices of {len(SYMBOLS)} US stocks, {FIRST_DAY:%Y} to {LAST_DAY:%Y}; {DAYS_PER_YEAR} trading days a year.",
                    size="xs",
                    c="dimmed",
                ),
                # Derives the job's id, so that a form that is sent twice makes one job.
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
    """Return the open job and past analyses. Without an open job, return an introduction in its place."""
    introduction = dmc.Stack(
        [
            dmc.Title("Walk-forward analysis", order=2),
            dmc.Text(
                "A portfolio is fitted to the days of the training window, held until the next rebalancing, and fitted again, "
                f"from {FIRST_DAY:%Y} to {LAST_DAY:%Y}. It never uses prices of the future."
            ),
            dmc.Text(
                "You may close this page while an analysis runs. Its address shows it again, here or in another browser."
            ),
        ],
        gap="sm",
    )
    intro = [] if job_id else [introduction]
    return html.Div([panel(job_id, beside=beside_id), *intro, html.Div(id="analysis-past")])


def find(job_id: Any) -> Job | None:
    """Return a job that the visitor may see, or None without an id. Raises JobNotFound."""
    return jobs.get_job(job_id) if job_id else None


def asked(job: Job | None) -> dict[str, Any] | None:
    """Return the arguments of an analysis, with all fields. Return None if they cannot be read or make no sense."""
    if job is None or job.name != "analyse":
        return None
    try:
        request_ = DEFAULTS | dict(zip(FIELDS, job.args, strict=False)) | job.kwargs
    except Unreadable:
        return None
    return request_ if not request.errors(**request_) else None


def heading(job: Job) -> str:
    """Return a job's arguments in words."""
    wanted = asked(job)
    return request.in_words(wanted) if wanted else "An analysis whose arguments cannot be read"


def report(result: dict[str, Any], beside: Any = None) -> Component:
    """Return the charts of a result, compared with a second analysis if there is one."""
    other = find(beside) if jobs.there(beside) else None
    if not beside:
        return results.report(result)
    if other is None or other.state is not JobState.SUCCEEDED or asked(other) is None:
        note = dmc.Alert("The analysis to compare with was not found, or has no result.", color="yellow", mt="md")
        return html.Div([note, results.report(result)])
    note = dmc.Text(
        ["Compared with: ", request.in_words(asked(other) or DEFAULTS), ", over the days that both cover."],
        mt="md",
        c="orange",
    )
    return html.Div([note, results.report(result, jobs.result(other.id))])


panel = jobs.panel(__name__, task=analyse, show=report, title=heading, download=results.files)
FORM = [State(f"analysis-{field}", "value") for field in FIELDS]


def read(values: tuple[Any, ...]) -> dict[str, Any]:
    """Return the arguments of `analyse` from the form's values."""
    wanted = dict(zip(FIELDS, values, strict=True))
    if isinstance(wanted["cap"], int | float):
        wanted["cap"] /= 100
    return wanted


@callback(
    Output("analysis-assets", "value"),
    Output("analysis-assets", "error", allow_duplicate=True),
    Input("analysis-file", "data"),
    prevent_initial_call=True,
)
def take_assets(data: Any) -> tuple[Any, str | None]:
    """Choose the assets that the uploaded file names."""
    if data is None:  # another file is on its way
        raise PreventUpdate
    try:
        return request.assets_in(jobs.files.get(data).open().read(LARGEST)), None
    except (FileRefused, ValueError) as error:
        return no_update, str(error)


@callback(
    *[Output(f"analysis-{field}", "error") for field in FIELDS],
    Input("analysis-start", "n_clicks"),
    *FORM,
    prevent_initial_call=True,
)
def check(_: int, *values: Any) -> list[str | None]:
    """Show each error beside its field."""
    wrong = request.errors(**read(values))
    return [wrong.get(field) for field in FIELDS]


@panel.start(Input("analysis-start", "n_clicks"), State("analysis-next", "data"), *FORM)
def start(_: int, form_id: str, *values: Any) -> JobHandle | None:
    """Start a job, unless a field is wrong."""
    wanted = read(values)
    return None if request.errors(**wanted) else analyse(**wanted, id=jobs.id_of_form(form_id))


@callback(
    Output("analysis-past", "children"),
    Output("analysis-tick", "disabled"),
    Input("analysis-tick", "n_intervals"),
    State("analysis-ids", "data"),
)
def list_past(_: int | None, ids: dict[str, Any]) -> tuple[Component | None, bool]:
    """List past analyses. The list is refreshed until the open job has ended."""
    try:
        job = find(ids["job"])
        return past(ids["job"], ids["beside"]), job is None or job.state.ended
    except DatabaseUnavailable:
        return out_of_touch(), False


def address(job_id: str, beside: str | None = None) -> str:
    """Return this page's query for a job and the one to compare it with."""
    return "?" + urlencode({"job": job_id} | ({"beside": beside} if beside else {}))


def past(open_id: str | None, beside_id: str | None) -> Component | None:
    """Return the latest analyses, with links to open them or to compare them with the open one."""
    latest = jobs.jobs(task=analyse, limit=20)
    if not latest:
        return None
    rows = [
        dmc.TableTr(
            [
                dmc.TableTd(
                    [
                        request.in_words(asked(job) or DEFAULTS) if asked(job) else "arguments cannot be read",
                        dmc.Text(f"{jobs.moment(job.created_at)} · {job.state.value}", size="sm", c="dimmed"),
                    ]
                ),
                dmc.TableTd(dmc.Group(_links(job, open_id, beside_id), gap="sm", justify="flex-end")),
            ]
        )
        for job in latest
    ]
    return dmc.Stack(
        [
            dmc.Title("Past analyses", order=2, size="h3", mt="xl"),
            dmc.Table(dmc.TableTbody(rows), highlightOnHover=True, **{"aria-label": "Past analyses"}),
        ]
    )


def _links(job: Job, open_id: str | None, beside_id: str | None) -> list[Component]:
    if job.id == open_id:
        return [dmc.Text("open now", size="sm", c="dimmed")]
    links = [_link("open", job.id)]
    if open_id and job.id == beside_id:
        links.append(_link("stop comparing", open_id))
    elif open_id and job.state is JobState.SUCCEEDED:
        links.append(_link("compare", open_id, job.id))
    return links


def _link(words: str, open_id: str, beside_id: str | None = None) -> Component:
    href = dash.get_relative_path(PATH) + address(open_id, beside_id)
    return dmc.Anchor(words, href=href, size="sm", style={"whiteSpace": "nowrap"})
