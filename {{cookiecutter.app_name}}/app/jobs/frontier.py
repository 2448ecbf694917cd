"""A short job: the efficient frontier, point by point."""

from collections.abc import Sequence
from typing import Any

from jobqueue import current_job

from app.jobs import huey
from app.portfolio import frontier, prices
from app.portfolio.universe import SYMBOLS


@huey.task(queue="interactive")
def efficient_frontier(assets: Sequence[str] = SYMBOLS, points: int = 30) -> dict[str, Any]:
    """Compute the frontier over the whole history, from the least risk to the highest return, and each asset alone."""
    job = current_job()
    job.progress(0, points, "loading prices")
    returns = prices.load_returns(assets)
    alone = frontier.single_assets(returns)
    portfolios = [frontier.least_risk(returns)]
    lowest, highest = portfolios[0]["return"], max(asset["return"] for asset in alone.values())
    for point in range(1, points):
        target = lowest + (highest - lowest) * point / (points - 1)
        job.progress(point, points, f"a return of {target:.1%} a year")
        portfolios.append(frontier.least_risk(returns, target))
    return {"frontier": portfolios, "assets": alone}
