"""A snapshot of the ledger for metrics: three statements, whatever the number of jobs.

Open jobs are counted up to MOST of each state. Ended jobs are those of the last RECENT_S seconds, at most NEWEST of each state: a
count of all ended jobs would read all of them, and a counter would be one more write at the end of each job.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from jobqueue.database.database import Database, Row
from jobqueue.ledger.states import State

MOST = 20_000  # open jobs of a state that are counted
RECENT_S = 300  # seconds
NEWEST = 2_000  # recently ended jobs of a state that are read

_FIRED = "sum(CASE WHEN due_at IS NOT NULL AND created_at > NOW - :recent THEN 1 ELSE 0 END) AS fired"
_COLUMNS = "state, queue, task, queued_at, due_at, created_at, losses"


def _each(states: Sequence[State], rows: str) -> str:
    """Return the rows of each of these states. With a UNION, each state takes no more than its own limit."""
    return " UNION ALL ".join(f"SELECT * FROM ({rows.format(state=state)}) AS {state}_jobs" for state in states)


OPEN_JOBS = f"""
SELECT state, queue, task, count(*) AS jobs, NOW - min(queued_at) AS oldest_s, sum(losses) AS losses, {_FIRED}
FROM ({_each([state for state in State if not state.ended],
             f"SELECT {_COLUMNS} FROM jobs WHERE state = '{{state}}' AND seq > 0 LIMIT :most")}) AS open_jobs
GROUP BY state, queue, task
"""  # fmt: skip

RECENTLY_ENDED = f"""
SELECT state, queue, task, claimed_at - queued_at AS waited_s, ended_at - claimed_at AS ran_s, losses,
       due_at IS NOT NULL AND created_at > NOW - :recent AS fired, NOW - ended_at AS age_s
FROM ({_each([state for state in State if state.ended],
             f"SELECT {_COLUMNS}, claimed_at, ended_at FROM jobs WHERE state = '{{state}}' AND returns >= 0 "
             "AND ended_at > NOW - :recent ORDER BY ended_at DESC LIMIT :newest")}) AS ended_jobs
"""  # fmt: skip

# Rows of several kinds: a name, a count and its limit or share, and seconds.
SURROUNDINGS = """
SELECT 'consumer' AS kind, host AS name, workers AS amount,
       (SELECT count(*) FROM jobs WHERE jobs.consumer = consumers.id AND state = 'running') AS part, NOW - seen_at AS seconds
FROM consumers WHERE left_at IS NULL AND seen_at > NOW - :lease
UNION ALL
SELECT 'schedule', name, CASE WHEN paused_at IS NULL THEN 0 ELSE 1 END, NULL, NOW - last_due FROM schedules
UNION ALL
SELECT 'lateness', schedules.name, NULL, NULL, jobs.created_at - jobs.due_at
FROM schedules JOIN jobs ON jobs.id = schedules.last_job WHERE jobs.due_at IS NOT NULL
UNION ALL
SELECT 'dataset', datasets.name, rows, datasets.version, NOW - as_of
FROM datasets JOIN dataset_versions AS kept ON kept.name = datasets.name AND kept.version = datasets.version
{connections}
"""

_CONNECTIONS = "UNION ALL SELECT 'connections', '', used, most, NULL FROM ({}) AS connections"


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """Rows of the three statements."""

    open: list[Row]  # state, queue, task, jobs, oldest_s, losses, fired
    ended: list[Row]  # of one job each: state, queue, task, waited_s, ran_s, losses, fired, age_s
    surroundings: list[Row]  # kind, name, amount, part, seconds

    @property
    def covered_s(self) -> float:
        """Return the seconds that `ended` covers: RECENT_S, or less if more jobs ended than are read."""
        per_state: dict[str, list[float]] = {}
        for row in self.ended:
            per_state.setdefault(row["state"], []).append(row["age_s"])
        return min([float(RECENT_S), *(max(ages) for ages in per_state.values() if len(ages) >= NEWEST)])

    def of_kind(self, kind: str) -> list[Row]:
        """Return the rows of a kind: consumer, schedule, lateness, dataset or connections."""
        return [row for row in self.surroundings if row["kind"] == kind]


def snapshot(database: Database, lease_s: float) -> Snapshot:
    """Read a snapshot. Raises DatabaseUnavailable.

    :param lease_s: seconds after which a consumer without a heartbeat counts as dead.
    """
    limited = database.dialect.connections
    connections = _CONNECTIONS.format(limited) if limited else "-- of any number of connections"
    with database.statement() as tx:
        return Snapshot(
            open=tx.all(OPEN_JOBS, most=MOST, recent=RECENT_S),
            ended=tx.all(RECENTLY_ENDED, newest=NEWEST, recent=RECENT_S),
            surroundings=tx.all(SURROUNDINGS.format(connections=connections), lease=lease_s),
        )
