"""Daily prices of 20 large US stocks and of their index, 1990 to 2022, bundled with skfolio."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def load_returns(assets: Sequence[str]) -> pd.DataFrame:
    """Return daily returns as fractions, a row per day and a column per asset, in the given order.

    A process loads the same assets once, so leave the table as it is.
    """
    return _load_returns(tuple(assets))


@lru_cache(maxsize=1)
def _load_returns(assets: tuple[str, ...]) -> pd.DataFrame:
    from skfolio.datasets import load_sp500_dataset

    return load_sp500_dataset()[list(assets)].pct_change().iloc[1:]


def load_index_returns() -> pd.Series:
    """Return daily returns of the S&P 500, on the same days."""
    from skfolio.datasets import load_sp500_index

    return load_sp500_index()["SP500"].pct_change().iloc[1:]
