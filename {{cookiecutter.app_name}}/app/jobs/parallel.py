"""Parts of a job: in parallel by Dask where that ends sooner, else one after another in this process."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from app.settings import settings

START = 6.0  # seconds until Dask's processes have started and have imported skfolio
IMPORTS = ["skfolio.datasets", "skfolio.optimization"]
BATCH = 0.5  # seconds of calls that one of them gets at a time, since each handover takes some hundredths of a second

Numbered = tuple[int, Any]  # a part's number, and its arguments or its value


def compute(
    job: Any,
    function: Callable[..., Any],
    calls: Mapping[int, tuple[Any, ...]],
    seconds: float,
    note: str,
    done: int = 0,
) -> Iterator[Numbered]:
    """Call the function for each part, and yield the part's number and value, in any order. Report the progress.

    :param job: the current job.
    :param function: it is called in other processes, so define it outside of `app.jobs`, whose import needs the queue's settings.
    :param calls: the arguments, by the part's number.
    :param seconds: the time that one call takes on one processor, about.
    :param note: what a part is, for people.
    :param done: the number of parts that were done before.
    """
    of = done + len(calls)
    alone = seconds * len(calls)
    parallel = settings.dask_scheduler or (START < alone and START + alone / job.dask_workers < alone)
    size = max(1, round(BATCH / seconds)) if parallel else 1
    parts = list(calls.items())
    batches = [parts[first : first + size] for first in range(0, len(parts), size)]

    def call(batch: list[Numbered]) -> list[Numbered]:
        return [(number, function(*args)) for number, args in batch]

    def by_dask() -> Iterator[list[Numbered]]:
        with job.dask(imports=IMPORTS) as client:
            yield from job.gather(client, [client.submit(call, batch) for batch in batches])

    job.progress(done, of, f"{note} {done} of {of}")
    for batch in by_dask() if batches and parallel else map(call, batches):
        for numbered in batch:
            yield numbered
            done += 1
            job.progress(done, of, f"{note} {done} of {of}")
