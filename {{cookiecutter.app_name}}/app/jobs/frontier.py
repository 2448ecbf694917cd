"""A short job: the efficient frontier, point by point."""

from collections.abc import Sequence
from typing import Any

from jobqueue import current_job

from app.jobs import huey
from app.jobs.parallel import compute
from app.portfolio import frontier, prices
from app.portfolio.universe import SYMBOLS


@huey.task(queue="interactive")
def efficient_frontier(assets: Sequence[str] = SYMBOLS, points: int = 30) -> dict[str, Any]:
    """Compute the frontier over the whole history, from the least risk to the highest return, and each asset alone."""
    job = current_job()
    job.progress(0, points, "loading prices")
    returns = prices.load_returns(assets)
    alone = frontier.single_assets(returns)
    least = frontier.least_risk(returns)
    lowest, highest = least["return"], max(asset["return"] for asset in alone.values())
    targets = {point: lowest + (highest - lowest) * point / (points - 1) for point in range(1, points)}
    calls = {point: (assets, target) for point, target in targets.items()}
    found = dict(compute(job, frontier.reaching, calls, frontier.SECONDS, "point", done=1))
    return {"frontier": [least, *(found[point] for point in targets)], "assets": alone}
