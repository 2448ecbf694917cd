"""A long job: a walk-forward analysis. app/portfolio does the work. This job saves its steps and reports progress."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from jobqueue import current_job

from app.jobs import huey
from app.jobs.parallel import compute
from app.portfolio import prices, request, statistics, walk_forward
from app.portfolio.universe import DAYS, SYMBOLS


@huey.task(queue="heavy")
def analyse(
    assets: Sequence[str] = SYMBOLS,
    risk: str = "cvar",
    training: int = 1260,
    rebalance: int = 21,
    cap: float = 1.0,
) -> dict[str, Any]:
    """Fit a portfolio to the last `training` days, hold it for `rebalance` days, and so on through 33 years of prices.

    :param assets: symbols.
    :param risk: the risk to minimise, "cvar" or "variance".
    :param training: trading days.
    :param rebalance: trading days.
    :param cap: the largest weight of one asset, above 0 and up to 1.

    Returns arrays, which the web process reads without pandas: `days` with the daily returns of `portfolio` and `index`;
    `starts`, the first day of each window, with the `weights` held from then on (a row per window, a column per asset of
    `assets`); and the `statistics` of portfolio and index, by name. Raises ValueError for wrong arguments.
    """
    request.check(assets=assets, risk=risk, training=training, rebalance=rebalance, cap=cap)
    job = current_job()
    plan = walk_forward.windows(DAYS, training, rebalance)
    if job.attempt == 1:  # after a crash the progress bar stays where it was
        job.progress(0, len(plan), "loading prices")
    threading.Thread(target=prices.load_returns, args=(assets,), daemon=True).start()  # while Dask's processes start

    # Saved, so that an attempt after a crash fits only the windows that are missing.
    calls = {number: (assets, window, risk, cap) for number, window in enumerate(plan, start=1)}
    found = {
        number: job.step(f"window:{number}", walk_forward.fit, *call)
        for number, call in calls.items()
        if job.is_saved(f"window:{number}")
    }
    missing = {number: call for number, call in calls.items() if number not in found}
    seconds = walk_forward.seconds(risk, training)
    for number, fitted in compute(job, walk_forward.fit, missing, seconds, "window", done=len(found)):
        found[number] = job.step(f"window:{number}", np.asarray, fitted)
    weights = [found[number] for number in calls]

    job.progress(len(plan), len(plan), "computing statistics")
    returns = prices.load_returns(assets)
    earned, turnover = walk_forward.hold(returns, plan, weights)
    days = returns.index[plan[0].split : plan[-1].end]
    index = prices.load_index_returns()[days].to_numpy()
    return {
        "days": days.to_numpy("datetime64[D]"),
        "portfolio": earned,
        "index": index,
        "starts": returns.index[[window.split for window in plan]].to_numpy("datetime64[D]"),
        "assets": list(assets),
        "weights": np.array(weights),
        "statistics": {
            "portfolio": statistics.summary(earned, statistics.yearly_turnover(turnover, rebalance)),
            "index": statistics.summary(index, turnover=float("nan")),
        },
    }
