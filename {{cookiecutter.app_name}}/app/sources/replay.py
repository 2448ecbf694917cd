"""The bundled history, replayed a trading day at a time: fresh data without a network."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

SHOWN = 504  # trading days: two years


class Replay:
    """Two years of prices. Each turn moves them on by a day, and from the end back to the start."""

    def __init__(self, turn: int) -> None:
        self.turn = turn

    def fetch(self, symbol: str) -> pd.Series:
        """Return closing prices by day, oldest first."""
        history = _history()[symbol]
        start = self.turn % (len(history) - SHOWN + 1)
        return history.iloc[start : start + SHOWN]


@cache
def _history() -> pd.DataFrame:
    from skfolio.datasets import load_sp500_dataset

    return load_sp500_dataset()
