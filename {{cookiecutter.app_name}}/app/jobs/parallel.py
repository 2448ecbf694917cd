"""Parts of a job: in parallel by Dask where that ends sooner, else one after another in this process."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from app.settings import settings

START = 10.0  # seconds until Dask's processes have started and have imported skfolio


def compute(
    job: Any,
    function: Callable[..., Any],
    calls: Mapping[int, tuple[Any, ...]],
    seconds: float,
    note: str,
    done: int = 0,
) -> Iterator[tuple[int, Any]]:
    """Call the function for each part, and yield the part's number and value, in any order. Report the progress.

    :param job: the current job.
    :param function: it is called in other processes, so define it outside of `app.jobs`, whose import needs the queue's settings.
    :param calls: the arguments, by the part's number.
    :param seconds: the time that one call takes on one processor, about.
    :param note: what a part is, for people.
    :param done: the number of parts that were done before.
    """
    from dask.system import CPU_COUNT  # only workers import Dask

    def numbered(number: int, *args: Any) -> tuple[int, Any]:
        return number, function(*args)

    alone = seconds * len(calls)
    if calls and (settings.dask_scheduler or START + alone / CPU_COUNT < alone):
        with job.dask() as client:
            futures = [client.submit(numbered, number, *args) for number, args in calls.items()]
            yield from job.gather(client, futures, note, done)
        return
    for position, (number, args) in enumerate(calls.items(), start=done):
        job.progress(position, done + len(calls), f"{note} {position} of {done + len(calls)}")
        yield numbered(number, *args)
