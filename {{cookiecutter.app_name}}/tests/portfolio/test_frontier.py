"""The efficient frontier and its page."""

import pytest
from jobqueue import DurableHuey, SubmitRefused

from app.jobs.frontier import efficient_frontier
from app.pages import frontier
from app.portfolio import figures

ASSETS = ["AAPL", "JNJ", "XOM"]


def test_more_return_takes_more_risk_up_to_the_best_asset() -> None:
    result = efficient_frontier(ASSETS, points=5).get()
    returns = [portfolio["return"] for portfolio in result["frontier"]]
    risks = [portfolio["volatility"] for portfolio in result["frontier"]]
    assert len(returns) == 5
    assert returns == sorted(returns) and risks == sorted(risks)
    assert returns[-1] == pytest.approx(max(asset["return"] for asset in result["assets"].values()), rel=1e-4)
    assert risks[0] < min(asset["volatility"] for asset in result["assets"].values())


def test_one_asset_has_no_frontier(queue: DurableHuey) -> None:
    with pytest.raises(SubmitRefused, match="Choose at least two assets."):
        frontier.start(1, ["AAPL"])
    assert queue.jobs() == []


def test_the_page_draws_it() -> None:
    drawn = str(frontier.panel.render(efficient_frontier(ASSETS, points=3).id).result)
    assert "Efficient frontier" in drawn and "Exxon Mobil" in drawn


def test_asset_names_do_not_overlap_in_the_chart() -> None:
    places = {"AAPL": (0.2, 0.1), "JNJ": (0.21, 0.1), "KO": (0.2, 0.2), "XOM": (0.6, 0.1), "PG": (0.59, 0.101)}
    assets = {name: {"volatility": volatility, "return": back} for name, (volatility, back) in places.items()}
    assert figures.frontier([], assets)["data"][1]["text"] == ["AAPL", "", "KO", "XOM", ""]
    assert figures.frontier([], {"AAPL": assets["AAPL"]})["data"][1]["text"] == ["AAPL"]
