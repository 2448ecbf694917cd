"""The market's prices and their page, which reads a dataset and has a background callback."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from dash import no_update
from jobqueue import DurableHuey

from app.jobs import market
from app.pages import market as page
from app.pages import market_weights
from app.portfolio import figures, frontier, statistics


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PRICES_URL", raising=False)


def refreshed(shown: Any = None) -> tuple[str, Any]:
    state, now = page.refresh(0, shown)
    return str(state), now


def test_each_refresh_adds_a_trading_day(queue: DurableHuey) -> None:
    market.prices.refresh()
    first = market.prices.read()
    market.prices.refresh()
    second = market.prices.read()
    assert list(first.columns) == list(market.SHOWN) and not first.isna().any(axis=None)
    assert second.index[-2] == first.index[-1]


def test_before_the_first_prices_the_page_says_so(queue: DurableHuey) -> None:
    said, now = refreshed()
    assert "No prices yet" in said and "Refresh now" in said
    assert "The charts appear" in str(page.draw(now, "252"))


def test_the_page_shows_the_newest_version_and_sends_nothing_until_the_next(queue: DurableHuey) -> None:
    _, before = refreshed()
    assert page.start(1).id == queue.jobs()[0].id
    said, now = refreshed(before)
    assert "as of " in said and "version 1" in said
    assert page.refresh(1, now) == (no_update, no_update)
    drawn = str(page.draw(now, "252"))
    assert drawn.count("Graph(") == 3 and "Correlations" in drawn
    page.start(2)
    assert "version 2" in refreshed(now)[0]


def test_a_late_or_failed_refresh_is_shown_above_the_last_good_prices(
    queue: DurableHuey, monkeypatch: pytest.MonkeyPatch
) -> None:
    market.prices.refresh()
    _, now = refreshed()
    monkeypatch.setattr(market.prices, "function", lambda: [])
    queue.enqueue(market.prices.task.s(retries=0))
    said, after = refreshed(now)
    assert "last good ones" in said and "EmptyDataset" in said and after != now
    monkeypatch.setattr(market.prices, "stale_after", pd.Timedelta(0))
    assert "These prices are stale" in refreshed(after)[0]
    assert len(market.prices.read()) > 0


def test_a_refresh_is_shown_until_it_ends(queue: DurableHuey) -> None:
    waiting = market.prices.task.schedule(delay=60)
    assert "Starts in" in str(page.panel.render(waiting.id).status)
    done = page.panel.render(market.prices.refresh().id)
    assert "succeeded" in str(done.status) and done.seen["ended"]


@pytest.mark.usefixtures("no_database")
def test_an_outage_of_the_database_is_shown_above_the_charts() -> None:
    said, now = refreshed(["whatever", "was", "shown"])
    assert "The database does not answer" in said
    assert page.draw(now, "252") is no_update


def test_the_least_risky_portfolio_shows_how_certain_it_is(queue: DurableHuey, monkeypatch: pytest.MonkeyPatch) -> None:
    """A month works too, although it has hardly more days than there are assets."""
    monkeypatch.setattr(market_weights, "DRAWS", 4)
    market.prices.refresh()
    told: list[Any] = []
    said, chart = market_weights.weigh(told.append, 1, "21")
    days = market.prices.read().index
    assert f"From {days[-21]:%Y-%m-%d} to {days[-1]:%Y-%m-%d} its volatility was" in str(said)
    assert told[0] == [0, "fitting to 21 days"] and told[-1] == [100, "history 4 of 4"]
    assert chart is not None
    trace = chart.figure["data"][0]
    assert sum(trace["x"]) == pytest.approx(1, abs=1e-3) and trace["x"] == sorted(trace["x"])
    assert set(trace["y"]) == set(market.SHOWN)


def test_without_prices_there_is_no_portfolio(queue: DurableHuey) -> None:
    said, chart = market_weights.weigh(lambda told: None, 1, "252")
    assert "No prices yet" in str(said) and chart is None


def test_workers_know_the_pages_background_callback(queue: DurableHuey) -> None:
    assert "callback.weights-said:children,weights-chart:children" in queue._registry._registry


def test_a_redrawn_history_has_days_of_the_real_one() -> None:
    returns = pd.DataFrame({"A": [0.1, 0.2, 0.3], "B": [0.4, 0.5, 0.6]})
    drawn = frontier.redrawn(returns, 1)
    assert len(drawn) == 3 and set(drawn.index) < set(returns.index)
    assert drawn.equals(frontier.redrawn(returns, 1)) and not drawn.equals(frontier.redrawn(returns, 2))


def test_correlations_are_of_daily_returns() -> None:
    prices = np.array([[1.0, 1.0, 4.0], [2.0, 3.0, 2.0], [3.0, 5.0, 1.5], [6.0, 11.0, 0.5]])
    table = statistics.correlations(prices)
    assert table == pytest.approx(pd.DataFrame(prices).pct_change().corr().to_numpy())
    assert statistics.correlations(prices[:, :1]).shape == (1, 1)


def test_charts_are_plain_and_sorted() -> None:
    days = np.array(["2022-01-03", "2022-01-04"], dtype="datetime64[D]")
    drawn = figures.market(days, ["A", "B"], np.array([[2.0, 4.0], [3.0, 3.0]]))
    assert [trace["y"] for trace in drawn["data"]] == [[1.0, 1.5], [1.0, 0.75]]
    assert figures.returns(["A", "B"], np.array([0.5, -0.25]))["data"][0]["y"] == ["B", "A"]
    assert figures.correlations(["A", "B"], np.eye(2))["data"][0]["z"] == [[1.0, 0.0], [0.0, 1.0]]
    low, weights, high = np.array([[0.5, 0.1], [0.6, 0.4], [0.9, 0.3]])
    (trace,) = figures.shares(["A", "B"], weights, low, high)["data"]
    assert (trace["y"], trace["x"]) == (["B", "A"], [0.4, 0.6])
    assert (trace["error_x"]["arrayminus"], trace["error_x"]["array"]) == ([0.3, 0.1], [0.0, 0.3])
