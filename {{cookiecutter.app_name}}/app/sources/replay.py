"""The bundled history as if it came in a trading day at a time: fresh data without a network."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

SHOWN = 504  # trading days: two years


class Replay:
    """Two years of prices up to the day of a turn, from the first two years to the last; then from the start again."""

    def __init__(self, turn: int) -> None:
        self.turn = turn

    def fetch(self, symbol: str) -> pd.Series:
        history = _history()[symbol]
        start = self.turn % (len(history) - SHOWN + 1)
        return history.iloc[start : start + SHOWN]


@cache
def _history() -> pd.DataFrame:
    from skfolio.datasets import load_sp500_dataset

    return load_sp500_dataset()
