"""Figures by which portfolios are compared. Returns are daily and fractions (0.01 is one per cent); results are a year's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.portfolio.universe import DAYS_PER_YEAR

if TYPE_CHECKING:
    import pandas as pd


def cagr(returns: pd.Series) -> float:
    """Compound annual growth rate: the constant yearly return that leads to the same end."""
    return float((1 + returns).prod() ** (DAYS_PER_YEAR / len(returns)) - 1)


def volatility(returns: pd.Series) -> float:
    """Standard deviation of daily returns (of a sample), times the square root of a year's days."""
    return float(returns.std(ddof=1) * DAYS_PER_YEAR**0.5)


def sharpe(returns: pd.Series, risk_free: float = 0.0) -> float:
    """Mean excess return for each unit of volatility. NaN if there is no volatility.

    Sharpe, "The Sharpe ratio", Journal of Portfolio Management 21, 1994.

    :param risk_free: what is earned without risk, in a day.
    """
    excess = returns - risk_free
    spread = excess.std(ddof=1)
    return float(excess.mean() / spread * DAYS_PER_YEAR**0.5) if spread > 0 else float("nan")


def sortino(returns: pd.Series, target: float = 0.0) -> float:
    """Mean return above a target for each unit of downside deviation. NaN if no day fell short of it.

    The downside deviation is the root of the mean square of all shortfalls, over all days.
    Sortino & Price, "Performance measurement in a downside risk framework", Journal of Investing 3, 1994.

    :param target: a day's.
    """
    above = returns - target
    downside = float((above.clip(upper=0) ** 2).mean() ** 0.5)
    return float(above.mean() / downside * DAYS_PER_YEAR**0.5) if downside > 0 else float("nan")


def equity(returns: pd.Series) -> pd.Series:
    """What 1 invested at the start is worth at each day's end."""
    return (1 + returns).cumprod()


def drawdown(returns: pd.Series) -> pd.Series:
    """How far each day's value is below the highest so far, the start included: 0 at a high, -0.2 at 20 per cent below."""
    value = equity(returns)
    return value / value.cummax().clip(lower=1) - 1


def max_drawdown(returns: pd.Series) -> float:
    """The deepest drawdown, as a negative fraction.

    Magdon-Ismail & Atiya, "Maximum drawdown", Risk 17, 2004.
    """
    return float(drawdown(returns).min())


def yearly_turnover(turnover: pd.Series, rebalance: int) -> float:
    """The share of the portfolio that is replaced in a year, on average: 1 is all of it, once.

    DeMiguel, Garlappi & Uppal, "Optimal versus naive diversification", Review of Financial Studies 22, 2009, whose measure
    counts what is sold and what is bought; here a replacement counts once. NaN if there was one window only.

    :param turnover: at each rebalancing, the first purchase in front.
    :param rebalance: days between two of them.
    """
    return float(turnover.iloc[1:].mean() * DAYS_PER_YEAR / rebalance)


def yearly_returns(returns: pd.Series) -> pd.Series:
    """What each calendar year earned; the first and the last may be parts of a year."""
    return (1 + returns).groupby(returns.index.year).prod() - 1


def summary(returns: pd.Series, turnover: float) -> dict[str, float]:
    """All of them, by name."""
    return {
        "cagr": cagr(returns),
        "volatility": volatility(returns),
        "sharpe": sharpe(returns),
        "sortino": sortino(returns),
        "max_drawdown": max_drawdown(returns),
        "turnover": turnover,
    }
