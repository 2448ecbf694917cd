"""The prices of the market page: a dataset that a worker refreshes on a schedule. The page only reads it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from jobqueue import current_job, every

from app import sources
from app.jobs import huey
from app.portfolio.universe import SYMBOLS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pandas as pd

SHOWN = SYMBOLS[:12]


@huey.dataset(every("1 minute"), stale_after="15 minutes", retries=3, retry_delay=5)
def prices() -> pd.DataFrame:
    """Return closing prices, a row per day and a column per symbol."""
    import pandas as pd

    turn = current_job().step("turn", lambda: prices.info().version or 0)
    return pd.DataFrame(gather(sources.source(turn).fetch, SHOWN)).dropna()


def gather(fetch: Callable[[str], pd.Series], symbols: Sequence[str]) -> dict[str, pd.Series]:
    """Fetch all symbols at once. Each is a step of the job, so a retry fetches only those that failed.

    Raises SourceError, which names the failed symbols.
    """
    job = current_job()
    with ThreadPoolExecutor(len(symbols)) as pool:
        asked = {symbol: pool.submit(job.step, f"prices of {symbol}", fetch, symbol) for symbol in symbols}
    errors = {symbol: error for symbol, future in asked.items() if (error := future.exception()) is not None}
    for error in errors.values():
        if not isinstance(error, sources.SourceError):
            raise error
    if errors:
        first = next(iter(errors.values()))
        raise sources.SourceError(f"{len(errors)} of {len(symbols)} failed: {', '.join(errors)}. {first}") from first
    return {symbol: future.result() for symbol, future in asked.items()}
