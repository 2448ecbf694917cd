"""Figures to compare portfolios. Returns are daily fractions (0.01 is one per cent), results are per year.

They need only NumPy, so the web process can compute them. Arguments may be arrays or pandas Series.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from app.portfolio.universe import DAYS_PER_YEAR

Floats = NDArray[np.float64]


def cagr(returns: ArrayLike) -> float:
    """Return the compound annual growth rate: the constant yearly return that gives the same total."""
    returns = np.asarray(returns)
    return float(np.prod(1 + returns) ** (DAYS_PER_YEAR / len(returns)) - 1)


def volatility(returns: ArrayLike) -> float:
    """Return the sample standard deviation of daily returns, times the square root of the days per year."""
    return float(np.std(np.asarray(returns), ddof=1) * DAYS_PER_YEAR**0.5)


def sharpe(returns: ArrayLike, risk_free: float = 0.0) -> float:
    """Return the mean excess return per unit of volatility. NaN if there is no volatility.

    Sharpe, "The Sharpe ratio", Journal of Portfolio Management 21, 1994.

    :param risk_free: daily return without risk.
    """
    excess = np.asarray(returns) - risk_free
    spread = np.std(excess, ddof=1)
    return float(excess.mean() / spread * DAYS_PER_YEAR**0.5) if spread > 0 else float("nan")


def sortino(returns: ArrayLike, target: float = 0.0) -> float:
    """Return the mean return above a target per unit of downside deviation. NaN if no day fell short.

    The downside deviation is the root of the mean square of all shortfalls, over all days.
    Sortino & Price, "Performance measurement in a downside risk framework", Journal of Investing 3, 1994.

    :param target: daily return.
    """
    above = np.asarray(returns) - target
    downside = np.mean(np.minimum(above, 0) ** 2) ** 0.5
    return float(above.mean() / downside * DAYS_PER_YEAR**0.5) if downside > 0 else float("nan")


def equity(returns: ArrayLike) -> Floats:
    """Return the value of 1, invested at the start, at the end of each day."""
    return np.cumprod(1 + np.asarray(returns))


def drawdown(returns: ArrayLike) -> Floats:
    """Return how far each day's value is below the highest so far: 0 at a high, -0.2 at 20 per cent below."""
    value = equity(returns)
    return value / np.maximum(np.maximum.accumulate(value), 1) - 1


def max_drawdown(returns: ArrayLike) -> float:
    """Return the deepest drawdown, as a negative fraction.

    Magdon-Ismail & Atiya, "Maximum drawdown", Risk 17, 2004.
    """
    return float(drawdown(returns).min())


def yearly_turnover(turnover: ArrayLike, rebalance: int) -> float:
    """Return the average share of the portfolio that is replaced per year. 1 is all of it, once. NaN without a rebalancing.

    DeMiguel, Garlappi & Uppal, "Optimal versus naive diversification", Review of Financial Studies 22, 2009. Their
    measure counts sales and purchases. Here a replacement counts once.

    :param turnover: the share replaced at each rebalancing.
    :param rebalance: days between two rebalancings.
    """
    turnover = np.asarray(turnover)
    return float(turnover.mean() * DAYS_PER_YEAR / rebalance) if len(turnover) else float("nan")


def yearly_returns(days: ArrayLike, returns: ArrayLike) -> tuple[NDArray[np.int64], Floats]:
    """Return the calendar years and the return of each. The first and the last may be incomplete. `days` are in order."""
    years, starts = np.unique(np.asarray(days, dtype="datetime64[Y]"), return_index=True)
    return years.astype(np.int64) + 1970, np.multiply.reduceat(1 + np.asarray(returns), starts) - 1


def summary(returns: ArrayLike, turnover: float) -> dict[str, float]:
    """Return all figures by name. `turnover` is per year."""
    return {
        "cagr": cagr(returns),
        "volatility": volatility(returns),
        "sharpe": sharpe(returns),
        "sortino": sortino(returns),
        "max_drawdown": max_drawdown(returns),
        "turnover": turnover,
    }


def correlations(prices: ArrayLike) -> Floats:
    """Return the correlations of the assets' daily returns.

    :param prices: a row per day and a column per asset.
    """
    prices = np.asarray(prices)
    return np.atleast_2d(np.corrcoef(prices[1:] / prices[:-1] - 1, rowvar=False))
