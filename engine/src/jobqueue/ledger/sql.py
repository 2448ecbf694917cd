"""SQL that several statements of the ledger share. A statement itself stands beside the method that runs it.

The database package explains the SQL (`NOW`, `IN EACH`, `LEFT OUT`, `PLACE`, `QUOTED`, `LAST`).

- A statement that changes a job's state names the state that it expects. For a running job it names the token of the claim, which a
  job has only while it runs.
- Its other conditions select the index that serves it (see the migrations). `seq > 0` is true for every job, and selects the indexes
  for lists.
- Each change of state appends a line to `events`: a JSON list of the event's name, time and attempt, then pairs of a name and a
  text. jobqueue.jobs.history reads it.
"""

from jobqueue.text import ERROR, NOTE

_EVENTS_KEPT = 40_000  # characters of `events` that are kept before the newest line: several hundred lines


def event(name: str, *, attempt: str = "attempt", **texts: str) -> str:
    """Return an SQL expression: `events` with one more line.

    :param name: an event of TRANSITIONS, or "first version".
    :param attempt: an SQL expression for the number of the attempt.
    :param texts: SQL parameters by the names that they have in the line.

    Example: `event("ended", error=":error")`.
    """
    return f"LAST(events, {_EVENTS_KEPT}) || {_line(name, attempt, **texts)}"


def _line(name: str, attempt: str, **texts: str) -> str:
    pairs = "".join(f"""',"{key}",' || QUOTED({text}) || """ for key, text in texts.items())
    return f"""'["{name}",' || NOW || ',' || ({attempt}) || {pairs}']\n'"""


# The first line of `events`, if a request submitted the job. Earlier versions take it for one more submit, and log no request.
SUBMITTED = f"CASE WHEN CAST(:request AS text) IS NULL THEN '' ELSE {_line('submitted', '0', request=':request')} END"
FIRST_EVENT = "substr(events, 1, 300) AS first_event"

CLOCK = "SELECT NOW AS now"
ENDED_STATES = "('succeeded', 'failed', 'cancelled')"
OPEN_STATES = "('waiting', 'scheduled', 'queued', 'running')"
FLOW = "COALESCE(owner, '')"  # jobs without an owner count as jobs of one owner
AFTER = "id, state, follower, chord_index, queue, task, owner"  # the columns that `after_end` needs
# The id of a job, given its own id or the id of a handle.
RUN = "COALESCE((SELECT job_id FROM handles WHERE id = :id), :id)"

REPLACE_LOG = "ON CONFLICT (job_id) DO UPDATE SET lines = excluded.lines"

# Columns by name. The meaning of * changes while newer code migrates, and Postgres then refuses prepared statements. The message is
# left out, because it may take megabytes and few readers want it. Earlier versions stored errors and notes of any length.
JOB = f"""
jobs.seq, jobs.id, jobs.task, jobs.queue, jobs.state, jobs.priority, jobs.owner, jobs.run_at, jobs.queued_at,
jobs.expires_at, jobs.retries, jobs.retry_delay, jobs.token, jobs.consumer, jobs.worker, jobs.claimed_at, jobs.lease_until,
jobs.attempt, jobs.losses, jobs.returns, jobs.follower, jobs.chord_index, jobs.counted, jobs.pending, jobs.follows,
jobs.chord_size, jobs.done, jobs.total, substr(jobs.note, 1, {NOTE}) AS note, substr(jobs.error, 1, {ERROR}) AS error, jobs.created_at, jobs.ended_at,
jobs.unique_key, jobs.due_at, jobs.made_up
""".strip()

HANDLE = "handles.id AS handle, handles.owner AS handle_owner, handles.created_at AS asked_at, handles.let_go_at"
STATE_OF_HANDLE = "CASE WHEN handles.let_go_at IS NULL THEN jobs.state ELSE 'cancelled' END"

# The queues and the tasks of queued jobs: one index lookup for each, however many jobs are queued.
QUEUES = """
WITH RECURSIVE queued (value) AS (
    SELECT min(queue) FROM jobs WHERE state = 'queued' AND attempt >= 0 AND LEFT OUT(:queues)
    UNION ALL
    SELECT (SELECT min(queue) FROM jobs WHERE state = 'queued' AND attempt >= 0 AND queue > queued.value) FROM queued
    WHERE queued.value IS NOT NULL)
SELECT value FROM queued WHERE value IS NOT NULL UNION ALL SELECT value FROM EACH(:queues) AS served
"""

QUEUED_TASKS = """
WITH RECURSIVE queued (task) AS (
    SELECT min(task) FROM jobs WHERE state = 'queued' AND queued_at > 0
    UNION ALL
    SELECT (SELECT min(task) FROM jobs WHERE state = 'queued' AND queued_at > 0 AND task > queued.task) FROM queued
    WHERE queued.task IS NOT NULL)
SELECT task FROM queued WHERE task IS NOT NULL
"""
