"""Walk-forward optimisation: fit a portfolio to the past, hold it for a while, move on, fit again.

Each window is fitted by one call that depends only on its arguments. So a job can save each window's weights, and continue
after a crash with the first missing one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.portfolio import prices

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import pandas as pd


@dataclass(frozen=True)
class Window:
    """Rows of the returns: trained on [start, split), held over [split, end)."""

    start: int
    split: int
    end: int


def windows(days: int, training: int, rebalance: int) -> list[Window]:
    """Return all windows in order. Days at the end that do not fill a holding period are left out."""
    return [
        Window(split - training, split, split + rebalance) for split in range(training, days - rebalance + 1, rebalance)
    ]


def fit(assets: Sequence[str], window: Window, risk: str, cap: float) -> np.ndarray:
    """Return the weights that `fit_window` finds, with the bundled prices. A process loads them once."""
    return fit_window(prices.load_returns(assets), window, risk, cap)


def seconds(risk: str, training: int) -> float:
    """Return the time that one fit takes on one processor, about, in seconds. CVaR has a variable for each day."""
    return training / 10_000 if risk == "cvar" else 0.03


def fit_window(returns: pd.DataFrame, window: Window, risk: str, cap: float) -> np.ndarray:
    """Return the weights of the portfolio with the least risk over the window's training days.

    :param returns: daily returns, a row per day and a column per asset.
    :param risk: "cvar" (the mean loss on the worst 5 % of days; Rockafellar & Uryasev, "Optimization of conditional
        value-at-risk", Journal of Risk 2, 2000) or "variance" (Markowitz, "Portfolio selection", Journal of Finance 7, 1952).
    :param cap: the largest weight of one asset. No asset is sold short, and the weights add up to 1.
    """
    from skfolio import RiskMeasure
    from skfolio.optimization import MeanRisk

    model = MeanRisk(risk_measure=RiskMeasure[risk.upper()], max_weights=cap)
    model.fit(returns.iloc[window.start : window.split])
    weights: np.ndarray = model.weights_
    return weights


def hold(returns: pd.DataFrame, plan: Sequence[Window], weights: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return the daily returns of the portfolios while they were held, and the turnover of each rebalancing.

    Nothing is traded within a window, so weights drift with prices. The turnover is half the sum of all changes in weight:
    0 if nothing was traded, 1 if everything was replaced. The first purchase does not count.
    """
    import numpy as np

    earned, turnover = [], []
    drifted = None
    for window, target in zip(plan, weights, strict=True):
        if drifted is not None:
            turnover.append(float(np.abs(target - drifted).sum() / 2))
        growth = target * np.cumprod(1 + returns.iloc[window.split : window.end].to_numpy(), axis=0)
        value = growth.sum(axis=1)
        earned.append(value / np.concatenate([[target.sum()], value[:-1]]) - 1)
        drifted = growth[-1] / value[-1]
    return np.concatenate(earned), np.array(turnover)
