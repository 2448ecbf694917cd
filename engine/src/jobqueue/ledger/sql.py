"""Every SQL statement of the ledger, by name.

`NOW` is the database's clock in seconds since the epoch; parameters are written `:name`; a list is `IN EACH(:name)`, or
`FROM EACH(:name) AS known` with a `value` in each row; `FOR UPDATE` matters where there are several writers.

A statement that changes a job's state names the state that it expects, and for a running job the token of its claim, which
there is only while it runs. What else it names decides which index serves it (migrations/versions): `seq > 0`,
which is true of every job, asks for those of lists.

With each change of state goes a line in `events` (history.py): a JSON list of what it was, when, in which attempt, and pairs of
a name and a text. `LAST(column, n)` is its last n characters, and `QUOTED(:name)` a text in JSON.
"""

_EVENTS_KEPT = 40_000  # characters before the newest line: some hundreds


def event(name: str, *, attempt: str = "attempt", **texts: str) -> str:
    """`events`, and the one that comes to pass now."""
    pairs = "".join(f"""',"{key}",' || QUOTED({text}) || """ for key, text in texts.items())
    return f"""LAST(events, {_EVENTS_KEPT}) || '["{name}",' || NOW || ',' || ({attempt}) || {pairs}']\n'"""


CLOCK = "SELECT NOW AS now"
AFTER = "id, state, follower, chord_index, queue, task, owner"  # what the end of a job needs to know of it

JOB = """
jobs.seq, jobs.id, jobs.task, jobs.queue, jobs.state, jobs.priority, jobs.owner, jobs.message, jobs.run_at, jobs.queued_at,
jobs.expires_at, jobs.retries, jobs.retry_delay, jobs.token, jobs.consumer, jobs.worker, jobs.claimed_at, jobs.lease_until,
jobs.attempt, jobs.losses, jobs.returns, jobs.follower, jobs.chord_index, jobs.counted, jobs.pending, jobs.follows,
jobs.chord_size, jobs.done, jobs.total, jobs.note, jobs.error, jobs.created_at, jobs.ended_at, jobs.unique_key,
jobs.due_at, jobs.made_up
""".strip()  # by name: what * means changes while newer code migrates, and Postgres then refuses what it has prepared

HANDLE = "handles.id AS handle, handles.owner AS handle_owner, handles.created_at AS asked_at, handles.let_go_at"
STATE_OF_HANDLE = "CASE WHEN handles.let_go_at IS NULL THEN jobs.state ELSE 'cancelled' END"
ENDED_STATES = "('succeeded', 'failed', 'cancelled')"
OPEN_STATES = "('waiting', 'scheduled', 'queued', 'running')"
RUN = "COALESCE((SELECT job_id FROM handles WHERE id = :id), :id)"  # a job by its id, or a run by that of a handle
