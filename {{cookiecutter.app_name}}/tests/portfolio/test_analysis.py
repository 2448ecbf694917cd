"""The analysis: its job and its page."""

import uuid
from typing import Any

import numpy as np
import pytest
from dash import no_update
from jobqueue import DurableHuey, JobHandle

from app.jobs.analysis import analyse
from app.pages import analysis as page
from app.pages import analysis_results as results
from app.portfolio import walk_forward

SMALL: dict[str, Any] = {
    "assets": ["AAPL", "JNJ", "XOM"],
    "risk": "variance",
    "training": 2520,
    "rebalance": 252,
    "cap": 0.6,
}
WINDOWS = 22
CHARTS = ("Growth of 1", "Drawdown", "Weights", "Return in each year")


@pytest.fixture
def done(queue: DurableHuey) -> JobHandle:
    return analyse(**SMALL)


FORM = SMALL | {"cap": 60}  # in per cent, as on the page


# --- the job ---


def test_the_job_returns_what_the_page_shows(done: JobHandle) -> None:
    result = done.get()
    assert result["weights"].shape == (WINDOWS, 3)
    assert result["weights"].max() <= 0.6 + 1e-6
    assert len(result["days"]) == len(result["portfolio"]) == len(result["index"]) == WINDOWS * 252
    assert result["starts"][0] == result["days"][0]
    assert result["statistics"]["portfolio"]["cagr"] > 0.05


def test_a_wrong_request_fails_with_a_sentence() -> None:
    job = analyse(**(SMALL | {"training": 100_000})).get_job()
    assert job.state == "failed"
    assert "training: Enter between 60 and 8311 trading days; this is 100000." in job.error


def test_a_retried_analysis_continues_after_its_last_step(monkeypatch: pytest.MonkeyPatch) -> None:
    fitted: list[int] = []
    fit = walk_forward.fit_window

    def fit_but_once(returns: Any, window: Any, *rest: Any) -> Any:
        fitted.append(window.start)
        if len(fitted) == 5:
            raise RuntimeError("The solver gave up.")
        return fit(returns, window, *rest)

    monkeypatch.setattr(walk_forward, "fit_window", fit_but_once)
    job = analyse(**SMALL)
    assert job.get_job().error == "RuntimeError: The solver gave up."
    assert job.retry() and job.state == "succeeded"
    assert len(fitted) == WINDOWS + 1  # only the one that had failed was fitted twice

    monkeypatch.undo()
    undisturbed = analyse(**SMALL).get()
    assert np.abs(job.get()["weights"] - undisturbed["weights"]).max() < 1e-9


# --- the page ---


@pytest.mark.parametrize(
    ("changes", "field"),
    [({"assets": []}, "assets"), ({"training": 8312}, "training"), ({"rebalance": ""}, "rebalance"), ({"cap": 10}, "cap"), ({"cap": ""}, "cap")],
    ids=str,
)  # fmt: skip
def test_wrong_input_is_refused_beside_its_field(queue: DurableHuey, changes: dict[str, Any], field: str) -> None:
    values = FORM | changes
    errors = dict(zip(values, page.check(1, *values.values()), strict=True))
    assert [name for name, error in errors.items() if error] == [field]
    assert page.start(1, str(uuid.uuid4()), *values.values()) is None
    assert queue.jobs() == []


def test_an_uploaded_file_chooses_the_assets_or_says_why_not(queue: DurableHuey) -> None:
    assets, unknown = (queue.files.save(f"ticker\n{name}".encode(), "mine.csv") for name in ("AAPL", "TSLA"))
    assert page.take_assets(assets.id) == (["AAPL"], None)
    for file_id, words in ((unknown.id, "There are no prices of TSLA."), ("gone", "Upload it again.")):
        value, error = page.take_assets(file_id)
        assert value is no_update and error is not None and words in error


def test_a_form_that_is_sent_twice_makes_one_job(queue: DurableHuey) -> None:
    form = str(uuid.uuid4())
    assert [page.start(1, form, *FORM.values()).id for _ in range(2)] == [form, form]
    assert [job.id for job in queue.jobs()] == [form]
    assert queue.job(form).get_job().kwargs == SMALL


def test_the_page_shows_four_charts_statistics_and_arguments(done: JobHandle) -> None:
    look = page.panel.render(done.id)
    assert str(look.result).count("Graph(") == 4
    assert "Sharpe ratio" in str(look.result)
    assert "AAPL, JNJ, XOM · Variance" in str(look.status)


def test_the_form_has_the_arguments_of_the_open_job(done: JobHandle) -> None:
    form = str(page.layout(job=done.id))
    assert "value=['AAPL', 'JNJ', 'XOM']" in form and "value=2520" in form and "value=60.0" in form


def test_two_analyses_are_compared_over_the_days_that_both_cover(done: JobHandle) -> None:
    shorter = analyse(**(SMALL | {"training": 5040}))
    table = results.compare(done.get(), shorter.get())
    assert set(table) == {"This analysis", "S&P 500", "Compared with"}
    assert table["Compared with"]["cagr"] == pytest.approx(shorter.get()["statistics"]["portfolio"]["cagr"])
    assert table["S&P 500"]["cagr"] == pytest.approx(shorter.get()["statistics"]["index"]["cagr"])
    assert str(page.panel.render(done.id, beside=shorter.id).result).count("Graph(") == 5


def test_an_unknown_analysis_cannot_be_compared_with(done: JobHandle) -> None:
    shown = str(page.panel.render(done.id, beside="no-such-job").result)
    assert "was not found, or has no result" in shown and shown.count("Graph(") == 4


def test_past_analyses_are_refreshed_until_the_open_one_has_ended(done: JobHandle) -> None:
    waits = analyse.schedule(kwargs=SMALL, delay=60)
    listed, stops = page.list_past(0, {"job": done.id, "beside": None})
    assert waits.id in str(listed) and stops
    listed, stops = page.list_past(0, {"job": waits.id, "beside": None})
    assert done.id in str(listed) and not stops


def test_past_analyses_are_listed_newest_first(done: JobHandle) -> None:
    second = analyse(**(SMALL | {"assets": ["KO", "PEP", "PG"]}))
    listed = str(page.past(second.id, None))
    assert listed.index("KO, PEP, PG") < listed.index("AAPL, JNJ, XOM")
    assert f"?job={done.id}" in listed and f"?job={second.id}&beside={done.id}" in listed


def test_downloads_have_the_results_of_the_job(done: JobHandle) -> None:
    result = done.get()
    files = results.files(result)
    assert list(files) == ["Weights", "Statistics", "Daily returns", *(f"Chart: {name}" for name in CHARTS)]
    weights, returns = files["Weights"], files["Daily returns"]
    assert list(weights) == ["AAPL", "JNJ", "XOM"] and len(weights) == WINDOWS
    assert weights.iloc[0].tolist() == pytest.approx(result["weights"][0], abs=1e-6)
    assert returns.index[0] == result["days"][0] and len(returns) == len(result["days"])
    assert list(files["Statistics"]) == ["This analysis", "S&P 500"] and "sharpe" in files["Statistics"].index
    assert "Download" in str(page.panel.render(done.id).result)
