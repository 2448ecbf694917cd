"""Windows, the weights fitted to them, and the returns of the portfolios."""

import numpy as np
import pandas as pd
import pytest
from skfolio.model_selection import WalkForward

from app.portfolio import prices, walk_forward
from app.portfolio.universe import DAYS, SYMBOLS
from app.portfolio.walk_forward import Window


@pytest.fixture(scope="module")
def returns() -> pd.DataFrame:
    return prices.load_returns(SYMBOLS)


@pytest.mark.parametrize(
    ("training", "rebalance", "count"), [(1260, 21, 335), (756, 21, 359), (8291, 21, 1), (60, 252, 32)]
)
def test_windows_match_skfolios(training: int, rebalance: int, count: int) -> None:
    plan = walk_forward.windows(DAYS, training, rebalance)
    assert len(plan) == count
    split = WalkForward(test_size=rebalance, train_size=training).split(np.zeros((DAYS, 1)))
    theirs = [Window(int(train[0]), int(test[0]), int(test[-1]) + 1) for train, test in split]
    assert plan == theirs


@pytest.mark.parametrize("risk", ["cvar", "variance"])
def test_weights_add_up_to_1_and_respect_the_cap(returns: pd.DataFrame, risk: str) -> None:
    weights = walk_forward.fit_window(returns, Window(0, 504, 525), risk, cap=0.15)
    assert weights.sum() == pytest.approx(1, abs=1e-6)
    assert weights.min() >= -1e-6 and weights.max() <= 0.15 + 1e-6


def test_a_window_fitted_again_has_the_same_weights(returns: pd.DataFrame) -> None:
    once, again = (walk_forward.fit_window(returns, Window(252, 756, 777), "cvar", 1.0) for _ in range(2))
    assert np.abs(once - again).max() < 1e-9


def test_the_least_variance_is_less_than_that_of_equal_weights(returns: pd.DataFrame) -> None:
    training = returns.iloc[:504]
    weights = walk_forward.fit_window(returns, Window(0, 504, 525), "variance", 1.0)
    assert (training @ weights).var() < training.mean(axis=1).var()


def test_weights_drift_and_are_traded_back() -> None:
    days = pd.bdate_range("2020-01-01", periods=5)
    returns = pd.DataFrame({"A": [0.0, 0.1, 0.1, 0.0, 0.0], "B": 0.0}, index=days)
    half = np.array([0.5, 0.5])
    earned, turnover = walk_forward.hold(returns, [Window(0, 1, 3), Window(2, 3, 5)], [half, half])
    assert earned == pytest.approx([0.05, 1.105 / 1.05 - 1, 0, 0])
    assert turnover == pytest.approx([0.605 / 1.105 - 0.5])
