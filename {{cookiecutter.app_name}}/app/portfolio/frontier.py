"""The efficient frontier: for each expected return, the portfolio with the least risk.

Merton, "An analytic derivation of the efficient portfolio frontier", Journal of Financial and Quantitative Analysis 7, 1972.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from app.portfolio import prices
from app.portfolio.universe import DAYS_PER_YEAR

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import pandas as pd


SECONDS = 0.1  # that `reaching` takes on one processor, about


def reaching(assets: Sequence[str], target: float) -> dict[str, Any]:
    """Return the least risky portfolio that reaches a yearly return, over the whole history. A process loads prices once."""
    return least_risk(prices.load_returns(assets), target)


def least_risk(returns: pd.DataFrame, target: float | None = None) -> dict[str, Any]:
    """Return the least risky portfolio: its yearly `return` and `volatility` as fractions, and `weights` by asset.

    Nothing is sold short.

    :param returns: daily returns, a row per day and a column per asset.
    :param target: the yearly return to reach. By default that of the least risky portfolio of all.
    """
    from skfolio import RiskMeasure
    from skfolio.optimization import MeanRisk

    model = MeanRisk(risk_measure=RiskMeasure.VARIANCE, min_return=None if target is None else target / DAYS_PER_YEAR)
    model.fit(returns)
    weights = {str(asset): float(weight) for asset, weight in zip(returns.columns, model.weights_, strict=True)}
    return {**_figures(returns.to_numpy() @ model.weights_), "weights": weights}


def single_assets(returns: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Return `return` and `volatility` of each asset alone. The frontier ends at the highest return."""
    return {str(asset): _figures(column.to_numpy()) for asset, column in returns.items()}


def redrawn(returns: pd.DataFrame, number: int) -> pd.DataFrame:
    """Return a bootstrap history: as many days, drawn with replacement. The same number gives the same history.

    Efron, "Bootstrap methods: another look at the jackknife", Annals of Statistics 7, 1979.
    """
    import numpy as np

    return returns.iloc[np.random.default_rng(number).integers(len(returns), size=len(returns))]


def _figures(returns: np.ndarray) -> dict[str, float]:
    return {
        "return": float(returns.mean() * DAYS_PER_YEAR),
        "volatility": float(returns.std(ddof=1) * DAYS_PER_YEAR**0.5),
    }
