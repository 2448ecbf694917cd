"""Statistics, compared with values computed by hand."""

import math

import numpy as np
import pytest

from app.portfolio import statistics


def test_growth_compounds_to_the_same_total() -> None:
    two_years = np.zeros(504)
    two_years[7] = 0.21
    assert statistics.cagr(two_years) == pytest.approx(0.10)


def test_volatility_is_yearly_and_of_a_sample() -> None:
    assert statistics.volatility([0.01, -0.01]) == pytest.approx(math.sqrt(0.0002) * math.sqrt(252))


def test_sharpe_is_the_mean_excess_over_its_deviation() -> None:
    assert statistics.sharpe([0.02, 0.0]) == pytest.approx(0.01 / math.sqrt(0.0002) * math.sqrt(252))
    assert statistics.sharpe([0.03, 0.01], risk_free=0.01) == pytest.approx(0.01 / math.sqrt(0.0002) * math.sqrt(252))
    assert math.isnan(statistics.sharpe([0.0, 0.0]))


def test_sortino_counts_shortfalls_over_all_days() -> None:
    assert statistics.sortino([0.03, -0.01]) == pytest.approx(0.01 / math.sqrt(0.0001 / 2) * math.sqrt(252))
    assert math.isnan(statistics.sortino([0.01, 0.02]))


def test_drawdown_is_measured_from_the_highest_so_far() -> None:
    assert statistics.drawdown([0.1, -0.5, 0.2]) == pytest.approx([0, -0.5, -0.4])
    assert statistics.max_drawdown([0.1, -0.5, 0.2]) == pytest.approx(-0.5)


def test_a_loss_on_the_first_day_is_a_drawdown() -> None:
    assert statistics.max_drawdown([-0.2, 0.1]) == pytest.approx(-0.2)


def test_turnover_is_the_share_replaced_per_year() -> None:
    assert statistics.yearly_turnover([0.5, 0.1], rebalance=126) == pytest.approx(0.6)
    assert math.isnan(statistics.yearly_turnover([], rebalance=126))


def test_years_are_calendar_years() -> None:
    days = np.array(["2020-12-30", "2020-12-31", "2021-01-04"], dtype="datetime64[D]")
    years, earned = statistics.yearly_returns(days, [0.1, 0.1, -0.5])
    assert years.tolist() == [2020, 2021]
    assert earned == pytest.approx([0.21, -0.5])


def test_the_summary_has_all_figures() -> None:
    assert statistics.summary([0.01, -0.01], turnover=0.5).keys() == {
        "cagr", "volatility", "sharpe", "sortino", "max_drawdown", "turnover"
    }  # fmt: skip
