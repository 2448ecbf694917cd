"""Statistics for the jobs page: how many jobs are queued, running and failed, and how long jobs wait and run."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import quantiles

from jobqueue.database.database import Database, Row
from jobqueue.ledger.sql import STATE_OF_HANDLE
from jobqueue.ledger.states import State
from jobqueue.monitoring.search import DAY, DEEPEST, MOST

IN_STATE = "SELECT count(*) AS n FROM (SELECT 1 FROM jobs WHERE state = :state AND seq > 0 LIMIT :most) AS counted"
_ENDED = "state = :state AND returns >= 0 AND ended_at"
FAILED_SINCE = f"SELECT count(*) AS n FROM (SELECT 1 FROM jobs WHERE {_ENDED} > NOW - :age LIMIT :most) AS counted"

WAITS_SINCE = """
WITH RECURSIVE queued (task) AS (
    SELECT min(task) FROM jobs WHERE state = 'queued' AND queued_at > 0
    UNION ALL
    SELECT (SELECT min(task) FROM jobs WHERE state = 'queued' AND queued_at > 0 AND task > queued.task) FROM queued
    WHERE queued.task IS NOT NULL)
SELECT NOW - min((SELECT min(queued_at) FROM jobs
                  WHERE state = 'queued' AND queued_at > 0 AND jobs.task = queued.task)) AS seconds
FROM queued
"""

# An owner's counts cover the owner's newest jobs and newest handles only.
OF_OWNER = f"""
SELECT sum(CASE WHEN state = 'queued' THEN 1 ELSE 0 END) AS queued,
       sum(CASE WHEN state = 'running' THEN 1 ELSE 0 END) AS running,
       sum(CASE WHEN state = 'failed' AND ended_at > NOW - :age THEN 1 ELSE 0 END) AS failed,
       max(CASE WHEN state = 'queued' THEN NOW - queued_at END) AS waits
FROM (SELECT state, ended_at, queued_at
      FROM (SELECT state, ended_at, queued_at, unique_key FROM jobs
            WHERE owner = :owner AND seq > 0 ORDER BY seq DESC LIMIT :newest) AS alone
      WHERE unique_key IS NULL
      UNION ALL
      SELECT {STATE_OF_HANDLE}, ended_at, queued_at
      FROM (SELECT * FROM handles WHERE owner = :owner ORDER BY seq DESC LIMIT :newest) AS handles
      JOIN jobs ON jobs.id = handles.job_id) AS own
"""

# The jobs that ended in each period, and how long a sample of them waited and ran.
_STRETCH = "ended_at >= CAST(stretch.value AS double precision) AND ended_at < CAST(stretch.value AS double precision) + :width"

_ENDED_IN_STRETCH = f"""
(SELECT count(*) FROM (SELECT 1 FROM jobs WHERE state = '{{state}}' AND returns >= 0 AND {_STRETCH} LIMIT :most) AS counted)
""".strip()

ENDED_IN_EACH = f"""
SELECT {_ENDED_IN_STRETCH.format(state="succeeded")} AS succeeded, {_ENDED_IN_STRETCH.format(state="failed")} AS failed
FROM EACH(:stretches) AS stretch ORDER BY CAST(stretch.value AS double precision)
"""

SOME_ENDED = f"""
SELECT claimed_at - queued_at AS waited, ended_at - claimed_at AS ran
FROM jobs WHERE {_ENDED} >= :since AND ended_at < :until ORDER BY ended_at DESC LIMIT :some
"""

SAMPLE = 50  # jobs of a period from which its percentiles are estimated


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Counts of jobs. A count of MOST means MOST or more."""

    queued: int
    running: int
    failed: int  # in the last 24 hours
    waits_s: float | None  # seconds for which the first of the queued jobs has waited; None if no job is queued


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """Jobs that ended in a period. Durations are in seconds, and None if no job succeeded in the period."""

    since: float  # seconds since the epoch
    succeeded: int
    failed: int
    waited: tuple[float, float] | None  # 50th and 95th percentile, from the last jobs that succeeded
    ran: tuple[float, float] | None


class Statistics:
    """Counts and durations of one database's jobs. Every method raises DatabaseUnavailable."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def figures(self, owner: str | None = None) -> Figures:
        """Count all jobs, or the newest DEEPEST jobs of an owner."""
        with self.database.statement() as tx:
            if owner is not None:
                row = tx.one(OF_OWNER, owner=owner, age=DAY, newest=DEEPEST)
                assert row is not None
                counts = {name: int(row[name] or 0) for name in ("queued", "running", "failed")}
                return Figures(**counts, waits_s=row["waits"])
            waits = tx.one(WAITS_SINCE)
            return Figures(
                queued=_count(tx.one(IN_STATE, state=State.QUEUED, most=MOST)),
                running=_count(tx.one(IN_STATE, state=State.RUNNING, most=MOST)),
                failed=_count(tx.one(FAILED_SINCE, state=State.FAILED, age=DAY, most=MOST)),
                waits_s=None if waits is None else waits["seconds"],
            )

    def stretches(self, until: float, width_s: float, count: int) -> list[Stretch]:
        """Return statistics for consecutive periods, oldest first.

        :param until: the end of the last period, in seconds since the epoch.
        :param width_s: the length of each period, in seconds.
        :param count: the number of periods.
        """
        starts = [until - width_s * n for n in range(count, 0, -1)]
        with self.database.statement() as tx:
            counts = tx.all(ENDED_IN_EACH, stretches=[str(start) for start in starts], width=width_s, most=MOST)
            samples = [
                tx.all(SOME_ENDED, state=State.SUCCEEDED, since=start, until=start + width_s, some=SAMPLE)
                if row["succeeded"]
                else []
                for start, row in zip(starts, counts, strict=True)
            ]
        return [
            Stretch(
                since=start,
                succeeded=int(row["succeeded"]),
                failed=int(row["failed"]),
                waited=_percentiles([some["waited"] for some in sample]),
                ran=_percentiles([some["ran"] for some in sample]),
            )
            for start, row, sample in zip(starts, counts, samples, strict=True)
        ]


def _percentiles(seconds: Sequence[float | None]) -> tuple[float, float] | None:
    known = sorted(max(0.0, value) for value in seconds if value is not None)
    if not known:
        return None
    if len(known) == 1:
        return known[0], known[0]
    cuts = quantiles(known, n=20, method="inclusive")
    return cuts[9], cuts[18]


def _count(row: Row | None) -> int:
    return 0 if row is None else int(row["n"])
