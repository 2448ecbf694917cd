"""The short job: an efficient frontier, a point at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from app.jobs import huey
from app.portfolio import frontier, prices
from app.portfolio.universe import SYMBOLS
from jobqueue import current_job

if TYPE_CHECKING:
    import pandas as pd


@huey.task()
def efficient_frontier(assets: Sequence[str] = SYMBOLS, points: int = 30) -> dict[str, pd.DataFrame]:
    """The frontier over the whole history (`frontier`: a row a point), and each asset by itself (`assets`)."""
    import pandas as pd

    job = current_job()
    job.progress(0, points, "loading prices")
    returns = prices.load_returns(assets)
    rows = [frontier.least_risk(returns)]
    lowest, highest = rows[0]["return"], frontier.highest_return(returns)
    for point in range(1, points):
        target = lowest + (highest - lowest) * point / (points - 1)
        job.progress(point, points, f"a return of {target:.1%} a year")
        rows.append(frontier.least_risk(returns, target))
    return {"frontier": pd.DataFrame(rows), "assets": frontier.single_assets(returns)}
