"""The efficient frontier: for each expected return, the portfolio that reaches it with the least risk.

Merton, "An analytic derivation of the efficient portfolio frontier", Journal of Financial and Quantitative Analysis 7, 1972.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.portfolio.universe import DAYS_PER_YEAR

if TYPE_CHECKING:
    import pandas as pd


def least_risk(returns: pd.DataFrame, target: float | None = None) -> dict[str, float]:
    """Expected return and volatility (a year's, as fractions) of the least risky portfolio, and each asset's weight in it.

    :param returns: daily returns, a row a day and a column an asset.
    :param target: the yearly return to reach; whichever the least risk has if not given. Nothing is sold short.
    """
    from skfolio import RiskMeasure
    from skfolio.optimization import MeanRisk

    model = MeanRisk(risk_measure=RiskMeasure.VARIANCE, min_return=None if target is None else target / DAYS_PER_YEAR)
    model.fit(returns)
    earned = returns.to_numpy() @ model.weights_
    weights = {str(asset): float(weight) for asset, weight in zip(returns.columns, model.weights_, strict=True)}
    return {
        "return": float(earned.mean() * DAYS_PER_YEAR),
        "volatility": float(earned.std(ddof=1) * DAYS_PER_YEAR**0.5),
        **weights,
    }


def highest_return(returns: pd.DataFrame) -> float:
    """What the asset with the highest mean return earns in a year: where the frontier ends."""
    return float(returns.mean().max() * DAYS_PER_YEAR)


def single_assets(returns: pd.DataFrame) -> pd.DataFrame:
    """Each asset held alone: a row an asset, with `return` and `volatility`."""
    import pandas as pd

    return pd.DataFrame(
        {"return": returns.mean() * DAYS_PER_YEAR, "volatility": returns.std(ddof=1) * DAYS_PER_YEAR**0.5}
    )
