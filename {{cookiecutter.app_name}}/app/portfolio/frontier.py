"""The efficient frontier: for each expected return, the portfolio that reaches it with the least risk.

Merton, "An analytic derivation of the efficient portfolio frontier", Journal of Financial and Quantitative Analysis 7, 1972.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from app.portfolio.universe import DAYS_PER_YEAR

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


def least_risk(returns: pd.DataFrame, target: float | None = None) -> dict[str, Any]:
    """The least risky portfolio: its expected `return` and `volatility` (a year's, as fractions), and `weights` by asset.

    :param returns: daily returns, a row a day and a column an asset.
    :param target: the yearly return to reach; whichever the least risk has if not given. Nothing is sold short.
    """
    from skfolio import RiskMeasure
    from skfolio.optimization import MeanRisk

    model = MeanRisk(risk_measure=RiskMeasure.VARIANCE, min_return=None if target is None else target / DAYS_PER_YEAR)
    model.fit(returns)
    weights = {str(asset): float(weight) for asset, weight in zip(returns.columns, model.weights_, strict=True)}
    return {**_figures(returns.to_numpy() @ model.weights_), "weights": weights}


def single_assets(returns: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Each asset held alone: its `return` and `volatility`. The highest return is where the frontier ends."""
    return {str(asset): _figures(column.to_numpy()) for asset, column in returns.items()}


def redrawn(returns: pd.DataFrame, number: int) -> pd.DataFrame:
    """A history that might have been: as many days, drawn from these, some of them more than once. The same for each number.

    Efron, "Bootstrap methods: another look at the jackknife", Annals of Statistics 7, 1979.
    """
    import numpy as np

    return returns.iloc[np.random.default_rng(number).integers(len(returns), size=len(returns))]


def _figures(returns: np.ndarray) -> dict[str, float]:
    return {
        "return": float(returns.mean() * DAYS_PER_YEAR),
        "volatility": float(returns.std(ddof=1) * DAYS_PER_YEAR**0.5),
    }
