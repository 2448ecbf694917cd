"""The jobs pages as a browser requests them: what they show, what they do, and what they refuse."""

import logging
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import dash
import pytest
from dash import Dash
from dash._callback import GLOBAL_CALLBACK_LIST, GLOBAL_CALLBACK_MAP
from flask import abort
from flask.testing import FlaskClient
from huey.api import TaskWrapper
from hypothesis import given, settings
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from jobqueue import DurableHuey, JobHandle, JobNotFound, State, codec, current_job, every
from jobqueue.dash import pages
from jobqueue.dash.formatting import ago, size, span
from jobqueue.dash.pages import overview
from jobqueue.dash.pages import query as queries
from jobqueue.database.database import DatabaseUnavailable
from jobqueue.monitoring.search import DEEPEST, Filter, Listing
from jobqueue.reports.report import PLOTLY_HERE, Report

HTML = "<img src=x onerror=alert(1)>"


@dataclass
class Who:
    name: str
    admin: bool = False


@dataclass
class Site:
    """An app with these pages. `who` is the visitor."""

    huey: DurableHuey
    app: Dash
    delayed: TaskWrapper
    who: Who | None = None

    @property
    def client(self) -> FlaskClient:
        client: FlaskClient = self.app.server.test_client()
        return client

    def get(self, address: str) -> TestResponse:
        return self.client.get(address)

    def call(self, output: str, *values: Any, pressed: Any = None, changed: str | None = None) -> TestResponse:
        """Call a callback by its first output, with the values of its Inputs and States.

        `pressed`: the id of a button of a pattern. `changed`: the Input that has changed, by default the first.
        """
        self.get("/jobs")
        (name,) = [name for name in self.app.callback_map if name.strip(".").split("...")[0] == output]
        declared, given = self.app.callback_map[name], iter(values)
        parts = [name for name in name.strip(".").split("...")]
        inputs: list[Any] = []
        for part in declared["inputs"]:
            if isinstance(part["id"], str) and part["id"].startswith("{"):
                inputs.append([{"id": pressed, "property": part["property"], "value": 1}])
            else:
                inputs.append({**part, "value": next(given)})
        first = declared["inputs"][0]
        if changed is None:
            changed = f"{first['id'] if pressed is None else dash._utils.stringify_id(pressed)}.{first['property']}"
        outputs = [
            dict(zip(("id", "property"), part.split("@")[0].rpartition(".")[::2], strict=True)) for part in parts
        ]
        return self.client.post(
            "/_dash-update-component",
            json={
                "output": name,
                "outputs": outputs if name.startswith("..") else outputs[0],
                "inputs": inputs,
                "state": [{**part, "value": next(given)} for part in declared["state"]],
                "changedPropIds": [changed],
            },
        )

    def choices(self, button: dict[str, str]) -> TestResponse:
        """Press the button "Download" of a job's page."""
        outputs = {"id": button | {"jobs": "choices"}, "property": "children"}
        (name,) = [name for name in self.app.callback_map if '"jobs":"choices"' in name]
        body = {
            "output": name,
            "outputs": outputs,
            "inputs": [{"id": button, "property": "n_clicks", "value": 1}],
            "changedPropIds": [f"{dash._utils.stringify_id(button)}.n_clicks"],
        }
        return self.client.post("/_dash-update-component", json=body)

    def overview(self, **given: Any) -> dict[str, Any]:
        response = self.call("jobs-trouble.children", given, 0, None, None)
        assert response.status_code == 200
        return dict(response.get_json()["response"])

    def listed(self, **given: Any) -> list[str]:
        return list(self.overview(**given)["jobs-listed"]["data"])


@pytest.fixture(scope="module")
def made() -> Iterator[Site]:
    """Make an app in immediate mode, in which a submit returns when the job has ended. Dash's globals are restored afterwards."""
    huey = DurableHuey("pages", immediate=True)
    kept, known = dict(dash.page_registry), (list(GLOBAL_CALLBACK_LIST), dict(GLOBAL_CALLBACK_MAP))
    for of_others in dash.page_registry, GLOBAL_CALLBACK_LIST, GLOBAL_CALLBACK_MAP:
        of_others.clear()

    def refuse(error: Exception) -> None:
        if isinstance(error, JobNotFound):
            abort(404)
        raise error

    app = Dash("pages", use_pages=True, pages_folder="", suppress_callback_exceptions=True, on_error=refuse)
    app.layout = dash.page_container
    site = Site(huey, app, huey.task(name="delayed")(lambda: None))
    pages.add(app, huey, viewer=lambda: site.who)
    yield site
    huey.storage.close()
    dash.page_registry.clear()
    dash.page_registry.update(kept)
    GLOBAL_CALLBACK_LIST[:] = known[0]
    GLOBAL_CALLBACK_MAP.clear()
    GLOBAL_CALLBACK_MAP.update(known[1])


@pytest.fixture
def site(made: Site) -> Site:
    """Return the app with an empty ledger."""
    made.huey.storage.close()
    made.huey.storage = made.huey.get_immediate_storage()
    for task in made.huey.periodic_tasks().values():
        made.huey._registry.unregister(task)
    made.huey.datasets.clear()
    made.who = None
    return made


def texts(component: Any) -> list[str]:
    """Return the texts of a component and of those in it."""
    if isinstance(component, str):
        return [component]
    if isinstance(component, list):
        return [text for part in component for text in texts(part)]
    return texts(component["props"].get("children", [])) if isinstance(component, dict) else []


def delayed(site: Site, owner: str | None = None) -> JobHandle:
    handle: JobHandle = site.delayed.using(owner=owner).schedule(delay=3600)
    return handle


# --- what it shows ---


def test_a_filter_in_the_address_is_in_the_controls(site: Site) -> None:
    layout = str(dash.page_registry["jobqueue.dash.pages"]["layout"](state="failed", task="gone", text=HTML, page="3"))
    assert "value='failed'" in layout and "'label': 'gone'" in layout and repr(HTML) in layout


def test_an_address_with_unknown_values_is_read_without_them(site: Site) -> None:
    none = queries.read({"state": "x", "time": ["a"], "tab": "../", "page": "-1", "owner": {"a": 1}, "queue": None})
    assert none == queries.Query() and queries.read(None) == queries.read("x") == none
    assert queries.read({"page": "9" * 30}).offset < DEEPEST


def test_the_list_has_the_jobs_of_the_query_as_text(site: Site) -> None:
    fails = site.huey.task(name="fails")(lambda words: 1 / 0 if words is None else int(words))
    job, other = fails(HTML), delayed(site)
    shown = site.overview(state="failed")
    ((job_id, live),) = shown["jobs-listed"]["data"].items()
    assert job_id == job.id and live["state"] == "failed" and HTML in live["says"]
    assert any(HTML in text for text in texts(shown["jobs-rows"]["children"]))
    assert site.listed(state="scheduled", task=site.huey.name_of(site.delayed)) == [other.id]
    empty = site.overview(state="failed", task=site.huey.name_of(site.delayed))
    assert empty["jobs-listed"]["data"] == {} and "No job matches" in str(empty["jobs-none"])


def test_an_empty_list_says_so(site: Site) -> None:
    assert "No jobs yet" in str(site.overview()["jobs-none"])


def test_an_outage_of_the_database_is_said_and_leaves_the_page_as_it_is(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise DatabaseUnavailable("no route")

    monkeypatch.setattr(Listing, "page", fail)
    shown = site.overview()
    assert shown.keys() == {"jobs-trouble"} and "does not answer" in str(shown)


def test_a_look_is_a_handful_of_queries_and_the_list_alone_after_anothers(
    site: Site, statements: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """benchmarks/jobs_page.py measures what open pages cost."""
    site.huey.task(name="ends")(lambda: None)()
    drawn = {"at": 0, "rates": time.time(), "of": "hour"}

    def looked(kept: float, seen: dict[str, Any] | None) -> int:
        monkeypatch.setattr(overview, "SHARED_S", kept)
        statements.clear()
        assert site.call("jobs-trouble.children", {}, 0, None, seen).status_code == 200
        return len(statements)

    tiles, workers, the_list = 4, 2, 1
    assert looked(0, drawn) == tiles + workers + the_list
    assert looked(60, drawn) == the_list
    monkeypatch.setattr(overview, "CHARTS_S", 0)
    counts, times_of_a_stretch = 1, 1
    assert looked(60, None) == the_list + counts + times_of_a_stretch
    site.who = Who("ann")
    own, of_shared_runs = 1, 1
    assert looked(0, drawn) == own + workers + the_list + of_shared_runs


def test_a_tick_shows_the_list_that_another_browser_got_a_moment_ago_of_the_same_jobs_alone(
    site: Site, statements: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overview, "SHARED_S", 60)
    first = delayed(site)
    drawn = {"at": 0, "rates": time.time(), "of": "hour"}

    def listed(changed: str) -> set[str]:
        statements.clear()
        response = site.call("jobs-trouble.children", {}, 0, None, drawn, changed=changed).get_json()["response"]
        ids = set(response["jobs-listed"]["data"])
        assert all(job in str(response.get("jobs-rows")) for job in ids)
        return ids

    assert listed("jobs-asked.data") == {first.id}
    second = delayed(site)
    assert listed("jobs-tick.n_intervals") == {first.id} and statements == []
    assert listed("jobs-asked.data") == {first.id, second.id}
    assert listed("jobs-tick.n_intervals") == {first.id, second.id} and statements == []
    site.who = Who("ann")
    assert listed("jobs-tick.n_intervals") == set()  # the list of a user is never that of another


def test_the_table_is_sent_again_only_when_more_than_ages_and_progress_have_changed(site: Site) -> None:
    job = delayed(site)

    def refresh(seen: Any) -> dict[str, Any]:
        return dict(site.call("jobs-trouble.children", {}, 0, None, seen).get_json()["response"])

    first = refresh(None)
    assert "starts in" in first["jobs-listed"]["data"][job.id]["says"]
    again = refresh(first["jobs-seen"]["data"])
    assert "jobs-rows" not in again and again["jobs-listed"]["data"].keys() == {job.id}
    job.cancel()
    assert "jobs-rows" in refresh(again["jobs-seen"]["data"])


def test_a_jobs_page_has_its_timeline_arguments_steps_and_log(site: Site) -> None:
    def work(words: str, also: int) -> None:
        logging.getLogger("work").warning("said %s", words)
        raise ValueError(words)

    job = site.huey.task(name="work")(work)(HTML, also=7)
    assert site.get(f"/jobs/{job.id}").status_code == 200
    shown = site.call("job-trouble.children", 0, None, job.id, None).get_json()["response"]
    assert "Retry" in str(shown["job-status"]) and "Traceback of attempt 1" in str(shown["job-timeline"])
    assert repr(HTML) in str(shown["job-asked"]["children"]) or HTML in str(shown["job-asked"])
    box = shown["job-log"]["children"]["props"]["children"]["props"]
    assert f"said {HTML}" in box["children"] and (box["style"]["overflow"], box["tabIndex"]) == ("auto", 0)
    assert shown["job-seen"]["data"]["ended"] is True

    again = site.call("job-trouble.children", 1, None, job.id, shown["job-seen"]["data"]).get_json()["response"]
    assert again.keys() == {"job-trouble", "job-seen"}  # what has not changed is not drawn again


def test_an_outage_of_the_database_leaves_a_jobs_page_as_it_is(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: str) -> None:
        raise DatabaseUnavailable("no route")

    job = delayed(site)
    monkeypatch.setattr(site.huey, "history", fail)
    shown = site.call("job-trouble.children", 0, None, job.id, None).get_json()["response"]
    assert shown.keys() == {"job-trouble"} and "does not answer" in str(shown)


def test_a_schedule_is_shown_paused_resumed_and_run(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    site.huey.periodic_task(every("day at 07:30", tz="Europe/Paris"), name="refresh")(lambda: None)
    shown = str(site.overview(tab="schedules")["jobs-schedules"])
    assert "every day at 07:30 (Europe/Paris)" in shown and "Next: " in shown and "Has not run yet" in shown
    (name,) = site.huey.periodic_tasks()
    with caplog.at_level("INFO", "jobqueue.acts"):
        for act, said in (("pause", "Paused."), ("resume", "Resumed"), ("run", "Queued as job")):
            pressed = {"act": act, "jobs": "schedule", "name": name}
            assert said in press(site, pressed).text
    assert [record.getMessage().split()[1] for record in caplog.records] == ["pauses", "resumes", "runs"]
    assert len(site.huey.jobs()) == 1


def test_a_part_that_the_page_shows_already_is_not_sent_again(site: Site) -> None:
    site.huey.periodic_task(every("day at 07:30"), name="daily")(lambda: None)

    def look(seen: Any) -> dict[str, Any]:
        answer = site.call("jobs-trouble.children", {"tab": "schedules"}, 0, None, seen).get_json()
        return dict(answer["response"])

    first = look(None)
    assert "every day at 07:30" in str(first["jobs-schedules"])
    again = look(first["jobs-seen"]["data"])
    assert "jobs-schedules" not in again
    site.huey.pause_schedule("daily")
    assert "Paused since" in str(look(again["jobs-seen"]["data"])["jobs-schedules"])


def test_a_dataset_is_shown_without_its_content_and_refreshed(
    site: Site, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "No datasets." in str(site.overview(tab="datasets")["jobs-datasets"])
    content = [1, 2, 3]
    prices = site.huey.dataset(every("hour"), stale_after=0, name="prices")(lambda: content or 1 / 0)
    shown = str(site.overview(tab="datasets")["jobs-datasets"])
    assert "no version yet" in shown and "Next refresh: " in shown and "Made by" not in shown
    pressed = {"act": "refresh", "jobs": "schedule", "name": prices.name}
    with caplog.at_level("INFO", "jobqueue.acts"):
        assert "Queued as job" in press(site, pressed).text
    (made,) = site.huey.jobs()
    assert [record.getMessage() for record in caplog.records if record.name == "jobqueue.acts"] == [
        f"somebody refreshes dataset {prices.name} as job {made.id}"
    ]
    content.clear()
    failed = prices.refresh().id
    monkeypatch.setattr(codec, "decode", lambda *_: pytest.fail("its content was read"))
    shown = str(site.overview(tab="datasets")["jobs-datasets"])
    assert "'stale', 'color': 'orange'" in shown and f"/jobs/{made.id}" in shown and f"/jobs/{failed}" in shown
    assert "The last refresh failed: ZeroDivisionError" in shown
    assert "No dataset has the name" in press(site, pressed | {"name": "none"}).text


def press(site: Site, pressed: dict[str, str]) -> TestResponse:
    """Press a button of a schedule or a dataset."""
    site.get("/jobs")
    name = next(n for n, c in site.app.callback_map.items() if "schedule" in str(c["inputs"]))
    parts = [part.rpartition(".")[::2] for part in name.strip(".").split("...")]
    return site.client.post(
        "/_dash-update-component",
        json={
            "output": name,
            "outputs": [{"id": part, "property": prop} for part, prop in parts],
            "inputs": [[{"id": pressed, "property": "n_clicks", "value": 1}]],
            "state": [],
            "changedPropIds": [f"{dash._utils.stringify_id(pressed)}.n_clicks"],
        },
    )


# --- what it does, and for whom ---


def test_selected_jobs_are_cancelled_and_retried_and_each_action_is_logged(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.who = Who("eve", admin=True)
    jobs = [delayed(site, "ann") for _ in range(3)]
    jobs[0].cancel()
    with caplog.at_level("INFO", "jobqueue.acts"):
        meant = {"act": "cancel", "ids": [job.id for job in jobs] + ["no such job"]}
        assert "2 of 4 jobs" in site.call("jobs-said.children", 1, meant).text
    assert [job.state for job in jobs] == [State.CANCELLED] * 3
    assert [record.getMessage() for record in caplog.records] == [
        f"eve cancels job {job.id} of ann ({site.huey.name_of(site.delayed)})" for job in jobs[1:]
    ]
    meant = {"act": "retry", "ids": [jobs[0].id]}
    assert "1 of 1 job." in site.call("jobs-said.children", 1, meant).text
    assert jobs[0].state is State.SUCCEEDED  # it ran at once


def test_run_again_is_one_job_however_often_it_is_pressed(site: Site) -> None:
    job = site.huey.task(name="double")(lambda n: 2 * n).using(owner="ann")(4)
    new = str(uuid.uuid4())
    for _ in range(2):
        answer = site.call("job-said.children", job.id, new, pressed={"act": "again", "jobs": "act"})
        assert answer.get_json()["response"]["job-address"]["pathname"] == f"/jobs/{new}"
    assert [(one.args, one.owner) for one in site.huey.jobs()] == [((4,), "ann")] * 2


def test_a_visitor_sees_only_their_own_jobs_and_an_admin_all(site: Site) -> None:
    anns, bens = delayed(site, "ann"), delayed(site, "ben")
    site.who = Who("ben")
    for filters in ({}, {"owner": "ann"}, {"owner": ""}, {"text": anns.id}, {"tab": "schedules"}, {"tab": "workers"}):
        assert set(site.listed(**filters)) <= {bens.id}
    for tab in "schedules", "datasets", "workers":
        tabs = site.overview(tab=tab)
        assert not {"jobs-workers", "jobs-schedules", "jobs-datasets", "jobs-rates"} & tabs.keys()
    site.who = Who("eve", admin=True)
    assert set(site.listed()) == {anns.id, bens.id}
    assert site.listed(owner="ann") == [anns.id]


def test_a_visitor_without_admin_rights_has_only_the_list(site: Site) -> None:
    """A link from an admin changes nothing."""
    layout = dash.page_registry["jobqueue.dash.pages"]["layout"]
    for who, tab, owner in ((Who("ben"), "jobs", ""), (Who("eve", admin=True), "workers", "ann")):
        site.who = who
        assert f"'tab': '{tab}'" in str(layout(tab="workers", owner="ann"))
        assert f"'owner': '{owner}'" in str(layout(tab="workers", owner="ann"))
        assert ("?tab=workers" in str(layout())) is who.admin


def test_an_address_may_end_in_a_slash_and_is_a_404_for_an_unknown_job(site: Site) -> None:
    job = delayed(site, "ann")
    site.who = Who("ann")
    assert [site.get(f"/jobs{rest}").status_code for rest in ("", "/", f"/{job.id}", f"/{job.id}/")] == [200] * 4
    assert [site.get(f"/jobs/{rest}").status_code for rest in ("none", "none/", "no/ne")] == [404] * 3
    site.who = Who("ben")
    for method in ("GET", "HEAD"):
        assert site.client.open(f"/jobs/{job.id}/", method=method).status_code == 404


FOREIGN = ["page", "look", "cancel", "retry", "again", "bulk cancel", "bulk retry"]


@pytest.mark.parametrize("way", FOREIGN)
def test_another_users_job_does_not_exist(site: Site, way: str) -> None:
    job = delayed(site, "ann")
    if way.endswith(("retry", "again")):
        job.cancel()
    before = job.state
    site.who = Who("ben")
    answers = []
    for job_id in (job.id, str(uuid.uuid4())):
        if way == "page":
            answer = site.get(f"/jobs/{job_id}")
        elif way == "look":
            answer = site.call("job-trouble.children", 0, None, job_id, None)
        elif way.startswith("bulk"):
            answer = site.call("jobs-said.children", 1, {"act": way.split()[1], "ids": [job_id]})
        else:
            pressed = {"act": way, "jobs": "act"}
            answer = site.call("job-said.children", job_id, str(uuid.uuid4()), pressed=pressed)
        answers.append(answer)
    assert answers[0].status_code == answers[1].status_code == (200 if way.startswith("bulk") else 404)
    if way.startswith("bulk"):
        assert all("0 of 1 job." in answer.text for answer in answers)
    assert job.state is before and len(site.huey.jobs()) == 1


@pytest.mark.parametrize("act", ["pause", "resume", "run", "refresh"])
def test_only_admins_act_on_schedules_and_datasets(site: Site, act: str) -> None:
    site.huey.dataset(every("hour"), name="prices")(lambda: [1])
    (name,) = site.huey.periodic_tasks()
    site.who = Who("ben")
    assert press(site, {"act": act, "jobs": "schedule", "name": name}).status_code == 404
    (schedule,) = site.huey.schedules()
    assert schedule.paused_at is None and site.huey.jobs() == []


anything: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=60, deadline=None)
@given(given=st.dictionaries(st.sampled_from([*vars(queries.Query()), "other"]), anything), seen=anything)
def test_any_values_are_answered(made: Site, given: Any, seen: Any) -> None:
    made.who = None
    assert made.call("jobs-trouble.children", given, seen, seen, seen).status_code == 200
    assert made.call("jobs-said.children", 1, seen).status_code in (200, 204)
    assert made.call("job-trouble.children", 1, None, seen, given).status_code == 404


def test_durations_and_sizes_as_text() -> None:
    assert [span(s) for s in (None, 0.04, 9, 60, 3600, 90_000, 400_000)] == [
        "", "0 s", "9 s", "60 s", "60 min", "25 h 0 min", "4 d 15 h"
    ]  # fmt: skip
    assert [ago(0.2), ago(61)] == ["now", "61 s ago"]
    assert [size(n) for n in (None, 12, 999, 1000, 5_240, 999_900, 64_000_000, 64_060_000, 1_200_000_000)] == [
        "", "12 bytes", "999 bytes", "1 kB", "5.24 kB", "1 MB", "64 MB", "64.1 MB", "1.20 GB"
    ]  # fmt: skip


def test_an_empty_query_does_not_filter() -> None:
    assert queries.Query().filter(None) == Filter()
    assert queries.Query(owner="ann").filter("ben").owner == "ben"


# --- reports ---

FILES = {
    "html": ("text/html", b"<h1>Week</h1>"),
    "ipynb": ("application/x-ipynb+json", b"{}"),
    "pdf": ("application/pdf", b"%PDF-"),
}
REPORT = Report("The week: 1/2", "{}", f"<h1>Week</h1>{PLOTLY_HERE}", b"%PDF-")


def reported(site: Site, report: Report, *, fails: bool = False) -> JobHandle:
    def make() -> Report:
        current_job().with_error["report"] = report
        return report if not fails else 1 / 0  # type: ignore[return-value]

    task = site.huey.task(name="report")(make)
    try:
        handle: JobHandle = task.using(owner="ann")()
        return handle
    finally:
        task.unregister()


def section(site: Site, job: JobHandle) -> str:
    return str(site.call("job-trouble.children", 0, None, job.id, None).get_json()["response"]["job-report"])


@pytest.mark.parametrize("fails", [False, True])
def test_report_is_shown_in_a_sandbox_with_links_to_its_files(site: Site, fails: bool) -> None:
    job = reported(site, REPORT, fails=fails)
    site.who = Who("ann")
    shown = section(site, job)
    assert "'sandbox': 'allow-scripts'" in shown and ("up to the cell that failed" in shown) == fails
    for kind, (mimetype, content) in FILES.items():
        address = f"/jobs/{job.id}/report.{kind}"
        assert address in shown
        response = site.get(address)
        assert response.status_code == 200 and response.mimetype == mimetype and response.data.startswith(content)
        policy = response.headers["Content-Security-Policy"]
        assert policy.startswith("sandbox allow-scripts; default-src 'none'; ") and "same-origin" not in policy
        assert ("attachment" in response.headers.get("Content-Disposition", "")) == (kind != "html")
    saved = site.get(f"/jobs/{job.id}/report.html?download")
    assert saved.headers["Content-Disposition"] == 'attachment; filename="The week 12.html"'
    assert b"plotly.js v" in saved.data and len(saved.data) > 1_000_000  # added as the file is fetched


def test_strangers_get_404_for_each_file_of_a_report(site: Site) -> None:
    job, plain = reported(site, REPORT), delayed(site, "ann")
    for who, status in {"ann": 200, "ben": 404, "eve": 200}.items():
        site.who = Who(who, admin=who == "eve")
        for kind in FILES:
            assert site.get(f"/jobs/{job.id}/report.{kind}").status_code == status
            assert site.get(f"/jobs/{plain.id}/report.{kind}").status_code == 404
            assert site.get(f"/jobs/unknown/report.{kind}").status_code == 404
    only_pdf = reported(site, Report("analysis_pdf", None, None, b"%PDF-"))
    assert "Iframe" not in section(site, only_pdf)
    assert [site.get(f"/jobs/{only_pdf.id}/report.{kind}").status_code for kind in FILES] == [404, 404, 200]


# --- files of results ---


def files(site: Site, job: JobHandle) -> str:
    return str(site.call("job-trouble.children", 0, None, job.id, None).get_json()["response"].get("job-files"))


def returns(site: Site, value: Any) -> JobHandle:
    task = site.huey.task(name="returns")(lambda: value)
    try:
        handle: JobHandle = task.using(owner="ann")()
        return handle
    finally:
        task.unregister()


def test_a_job_that_returned_something_offers_its_files(site: Site) -> None:
    assert "Download" in files(site, returns(site, "text")) and "Download" not in files(site, delayed(site))
    assert "Download" not in files(site, reported(site, REPORT)) and "Download" not in files(site, returns(site, None))


def test_a_file_of_a_result_is_for_those_who_may_see_the_job(site: Site) -> None:
    job = returns(site, "text")
    button = {"jobs": "download", "job": job.id}
    for who, status in ((Who("ann"), 200), (Who("ben"), 404), (Who("eve", admin=True), 200), (None, 200)):
        site.who = who
        answer = site.client.get(f"/jobs/{job.id}/result?part=0&kind=txt", buffered=True)
        assert answer.status_code == status and (answer.data == b"text") is (status == 200)
        shown = site.choices(button)
        assert shown.status_code == status
        assert status == 404 or f"/jobs/{job.id}/result?part=0&kind=txt" in str(shown.get_json())
    assert site.get("/jobs/unknown/result?part=0&kind=txt").status_code == 404
    assert site.get(f"/jobs/{job.id}/result").status_code == 404
