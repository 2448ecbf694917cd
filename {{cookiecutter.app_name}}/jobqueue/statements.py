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


def _event(name: str, *, attempt: str = "attempt", **texts: str) -> str:
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
RELEASED = "CASE WHEN run_at > NOW THEN 'scheduled' ELSE 'queued' END"

# Owners take turns. A job's turn is the one after its owner's last in that queue and priority; an owner with nothing
# queued there comes in where the queue has got to (`front`), or one turn later if its last job was there already. It has got
# to the turn that runs, or to the first that waits if that is less; when nothing waits, to the time in microseconds, which is
# later than all turns before. Jobs without an owner are those of one owner. (An owner's last job is asked for by a range, which
# only the index of owners has in this order: else Postgres may walk all jobs back to it.)
FLOW = "COALESCE(owner, '')"
IN_TURNS = "turn >= 0 AND queue = :queue AND priority = :priority"
TURN = f"""
SELECT max(turn) FROM (
    SELECT max(turn) + 1 AS turn FROM jobs
    WHERE state = 'queued' AND created_at > 0 AND queue = :queue AND priority = :priority AND {FLOW} = COALESCE(:owner, '')
    UNION ALL
    SELECT turn + CASE WHEN COALESCE(:owner, '') = ''
                         OR turn <= (SELECT CASE WHEN queue = :queue AND priority = :priority THEN turn END
                                     FROM jobs WHERE owner >= :owner AND owner <= :owner AND seq > 0
                                     ORDER BY owner DESC, seq DESC LIMIT 1)
                       THEN 1 ELSE 0 END
    FROM (SELECT CASE WHEN waits IS NULL THEN CAST(NOW * 1000000 AS bigint) WHEN runs < waits THEN runs ELSE waits END AS turn
          FROM (SELECT (SELECT min(turn) FROM jobs WHERE state = 'queued' AND {IN_TURNS}) AS waits,
                       (SELECT max(turn) FROM jobs WHERE state = 'running' AND {IN_TURNS}) AS runs) AS ends) AS front
) AS turns
"""

INSERT_EACH = f"""
INSERT INTO jobs (id, task, queue, turn, state, priority, owner, message, run_at, queued_at, expires_at, retries,
                  retry_delay, attempt, losses, returns, follower,
                  chord_index, counted, pending, follows, chord_size, note, error, created_at, unique_key)
SELECT :id, :task, :queue, COALESCE(:turn, ({TURN})),
       CASE WHEN :pending > 0 THEN 'waiting' WHEN due > NOW THEN 'scheduled' ELSE 'queued' END,
       :priority, :owner, :message, due, NOW, COALESCE(:expires_at, NOW + :expires_in), :retries, :retry_delay,
       0, 0, 0, :follower, :chord_index, FALSE, :pending, :follows, :chord_size, '', '', NOW, :unique_key
FROM (SELECT COALESCE(:run_at, NOW + :run_in) AS due) AS start
WHERE TRUE
ON CONFLICT DO NOTHING
"""  # the id is known, or a run with its key has not ended
INSERT = f"{INSERT_EACH} RETURNING turn"

# The submissions of a unique job: each has a handle, and they share a run.
NEW_HANDLE = """
INSERT INTO handles (id, job_id, owner, created_at)
SELECT :handle, :id, :owner, NOW WHERE NOT EXISTS (SELECT 1 FROM jobs WHERE id = :handle)
ON CONFLICT (id) DO NOTHING
"""
OPEN_RUN = f"""
SELECT id FROM jobs WHERE unique_key = :unique_key AND state IN {OPEN_STATES} FOR UPDATE
"""  # locked, so that it does not end, and is not let go by all others, before it has one more
RECENT_RUN = """
SELECT id FROM jobs WHERE unique_key = :unique_key AND state = 'succeeded' AND ended_at > NOW - :cache_for
ORDER BY ended_at DESC LIMIT 1
"""  # not locked: who looks for it has a run with the key, and who waits to have one may hold a lock on that
WITHDRAW = "DELETE FROM jobs WHERE id = :id"
POINT = "UPDATE handles SET job_id = :run WHERE id = :id"
RUN_OF_HANDLE = """
SELECT id, state, unique_key FROM jobs WHERE id = (SELECT job_id FROM handles WHERE id = :id) FOR UPDATE
"""
LET_GO = "UPDATE handles SET let_go_at = NOW WHERE id = :id AND let_go_at IS NULL"
STILL_WANTED = "SELECT 1 FROM handles WHERE job_id = :run AND let_go_at IS NULL LIMIT 1"
TAKE_UP = "UPDATE handles SET let_go_at = NULL WHERE id = :id AND let_go_at IS NOT NULL"

# What a claim takes is the best of the first jobs of each queue and task: a step of the index for each, however many jobs
# wait, and however many before them are of tasks that this code does not know. Where owners have a cap it is a step for
# each owner who waits, too. Between queues the one that was served the longest ago comes first.
QUEUES = """
WITH RECURSIVE queued (value) AS (
    SELECT min(queue) FROM jobs WHERE state = 'queued' AND attempt >= 0 AND LEFT OUT(:queues)
    UNION ALL
    SELECT (SELECT min(queue) FROM jobs WHERE state = 'queued' AND attempt >= 0 AND queue > queued.value) FROM queued
    WHERE queued.value IS NOT NULL)
SELECT value FROM queued WHERE value IS NOT NULL UNION ALL SELECT value FROM EACH(:queues) AS served
"""
LINES = f"""
SELECT served.value AS queue, known.value AS task FROM ({QUEUES}) AS served CROSS JOIN EACH(:tasks) AS known
"""
IN_LINE = "state = 'queued' AND jobs.queue = line.queue AND jobs.task = line.task"
NEXT_OWNER = f"""
SELECT {FLOW} FROM jobs WHERE losses >= 0 AND {IN_LINE} AND {FLOW} > line.flow ORDER BY {FLOW} LIMIT 1
"""
LINES_OF_OWNERS = f"""
WITH RECURSIVE line (queue, task, flow) AS (
    SELECT line.queue, line.task, ({NEXT_OWNER.replace("> line.flow", ">= ''")}) FROM ({LINES}) AS line
    UNION ALL
    SELECT line.queue, line.task, ({NEXT_OWNER}) FROM line WHERE line.flow IS NOT NULL)
SELECT queue, task, flow FROM line WHERE flow IS NOT NULL AND NOT flow IN EACH(:full)
"""
IN_LINE_OF_OWNER = f"losses >= 0 AND {IN_LINE} AND {FLOW} = line.flow"

_FIRST = "SELECT seq, priority, turn FROM jobs WHERE {in_line} ORDER BY priority DESC, turn, seq LIMIT 1"
_NEXT = f"""
SELECT free.seq
FROM (SELECT line.*, first.seq, first.priority, first.turn, PLACE(queue, :lately) AS place
      FROM ({{lines}}) AS line CROSS JOIN LATERAL ({_FIRST}) AS first
      ORDER BY priority DESC, place, turn, seq) AS line
CROSS JOIN LATERAL ({_FIRST} FOR UPDATE SKIP LOCKED) AS free
ORDER BY line.priority DESC, line.place, line.turn, line.seq LIMIT 1
"""  # where another claim takes the first, the one after it; nothing else is locked
_NEXT_FOR_ONE_WRITER = f"""
SELECT seq FROM jobs WHERE seq IN (SELECT (SELECT seq FROM ({_FIRST})) FROM ({{lines}}) AS line)
ORDER BY priority DESC, PLACE(queue, :lately), turn, seq LIMIT 1
"""
_OF_TASKS = {"lines": LINES, "in_line": f"attempt >= 0 AND {IN_LINE}"}
_OF_OWNERS = {"lines": LINES_OF_OWNERS, "in_line": IN_LINE_OF_OWNER}
NEXT = _NEXT.format(**_OF_TASKS)
NEXT_WITHIN_CAPS = _NEXT.format(**_OF_OWNERS)
NEXT_FOR_ONE_WRITER = _NEXT_FOR_ONE_WRITER.format(**_OF_TASKS)
NEXT_WITHIN_CAPS_FOR_ONE_WRITER = _NEXT_FOR_ONE_WRITER.format(**_OF_OWNERS)
_CLAIM = f"""
UPDATE jobs
SET state = 'running', attempt = attempt + 1, token = :token, consumer = :consumer, worker = :worker, claimed_at = NOW,
    lease_until = NOW + :lease, events = {_event("claimed", attempt="attempt + 1", host=":host", worker=":worker")}
WHERE {{provided}}seq = ({{next}})
RETURNING id, task, queue, owner, follower, message, attempt, retries, retry_delay, expires_at, follows, chord_size,
          due_at,
          NOW AS now,
          EXISTS (SELECT 1 FROM entries WHERE key IN ('r:' || id, 'rt:' || task)) AS revoked
"""
CLAIM = _CLAIM.format(provided="", next=NEXT)
CLAIM_FOR_ONE_WRITER = _CLAIM.format(provided="", next=NEXT_FOR_ONE_WRITER)
CLAIM_WITHIN_CAPS = _CLAIM.format(provided="", next=NEXT_WITHIN_CAPS)
CLAIM_WITHIN_CAPS_FOR_ONE_WRITER = _CLAIM.format(provided="", next=NEXT_WITHIN_CAPS_FOR_ONE_WRITER)

RUNNING = "SELECT task, owner, count(*) AS n FROM jobs WHERE state = 'running' AND consumer >= '' GROUP BY task, owner"
ALONE = "SELECT pg_advisory_xact_lock(hashtextextended('jobqueue ' || :name, 0))"

_SAVE_LOG = "ON CONFLICT (job_id) DO UPDATE SET lines = excluded.lines"
_SAVE_RESULT = """
ON CONFLICT (job_id) DO UPDATE SET media_type = excluded.media_type, body = excluded.body, saved_at = excluded.saved_at
""".strip()
_END = f"""
UPDATE jobs
SET state = :state, error = :error, ended_at = NOW, token = NULL, lease_until = NULL,
    done = COALESCE(:done, done), total = COALESCE(:total, total), note = COALESCE(:note, note),
    events = {_event("ended", state=":state", error=":error", traceback=":traceback")}
WHERE id = :id AND token = :token
"""
END = f"{_END}RETURNING {AFTER}"
# Most jobs have nothing that follows them. Where the database is a trip away, their end and what comes with it is one.
_END_ALONE = f"""
WITH ended AS ({_END} AND follower IS NULL RETURNING {AFTER}),
     deleted AS (DELETE FROM entries WHERE key IN EACH(:deleted) AND EXISTS (SELECT 1 FROM ended)),
     saved AS (
         INSERT INTO results (job_id, media_type, body, saved_at)
         SELECT id, CAST(:media_type AS text), CAST(:body AS bytea), NOW FROM ended
         WHERE CAST(:media_type AS text) IS NOT NULL
         {_SAVE_RESULT}),
     logged AS (
         INSERT INTO logs (job_id, lines)
         SELECT id, CAST(:log AS text) FROM ended WHERE CAST(:log AS text) IS NOT NULL
         {_SAVE_LOG})
""".rstrip()
END_ALONE = f"{_END_ALONE}\nSELECT {AFTER} FROM ended"
# Together with the claim of its worker's next job: whoever may not write the end is given nothing.
END_AND_CLAIM = f"""{_END_ALONE},
     claimed AS ({_CLAIM.format(provided="EXISTS (SELECT 1 FROM ended) AND ", next=NEXT).replace(":token", ":next_token")})
SELECT claimed.* FROM ended LEFT JOIN claimed ON TRUE
"""

RETRY = f"""
UPDATE jobs
SET state = CASE WHEN COALESCE(:at, NOW + :delay) > NOW THEN 'scheduled' ELSE 'queued' END,
    run_at = COALESCE(:at, NOW + :delay), queued_at = NOW, retries = :retries, retry_delay = :retry_delay,
    done = COALESCE(:done, done), total = COALESCE(:total, total), note = COALESCE(:note, note),
    error = :error, token = NULL, lease_until = NULL,
    events = {_event("retried", error=":error", traceback=":traceback")}
WHERE id = :id AND token = :token
RETURNING {AFTER}
"""

LOSE = f"""
UPDATE jobs
SET state = CASE WHEN losses + 1 >= :max_losses THEN 'failed' ELSE 'queued' END,
    ended_at = CASE WHEN losses + 1 >= :max_losses THEN NOW END,
    error = CASE WHEN losses + 1 >= :max_losses THEN :poison ELSE error END,
    losses = losses + 1, queued_at = NOW, token = NULL, lease_until = NULL, events = {_event("lost")}
WHERE id = :id AND token = :token
RETURNING {AFTER}
"""

_GIVEN_BACK = f"""
SET state = 'queued', queued_at = NOW, returns = returns + 1, token = NULL, lease_until = NULL,
    events = {_event("given back")}
""".strip()

GIVE_BACK = f"""
UPDATE jobs {_GIVEN_BACK}
WHERE id = :id AND token = :token
RETURNING id
"""

GIVE_BACK_WORKERS = f"""
UPDATE jobs {_GIVEN_BACK}
WHERE consumer = :consumer AND worker = :worker AND state = 'running'
RETURNING id, queue
"""

GIVE_BACK_UNHEARD = f"""
UPDATE jobs {_GIVEN_BACK}
WHERE consumer = :consumer AND worker IN EACH(:workers) AND NOT token IN EACH(:known)
  AND lease_until < NOW + :left AND state = 'running'
RETURNING id, queue
"""

GIVE_BACK_ALL = f"""
UPDATE jobs {_GIVEN_BACK}
WHERE consumer = :consumer AND state = 'running'
RETURNING id, queue
"""

CANCEL = f"""
UPDATE jobs
SET state = 'cancelled', error = :reason, ended_at = NOW, token = NULL, lease_until = NULL,
    events = {_event("cancelled", error=":reason")}
WHERE id = :id AND state IN {OPEN_STATES}
RETURNING {AFTER}
"""

COUNT_ONCE = "UPDATE jobs SET counted = TRUE WHERE id = :id AND NOT counted"

RELEASE = f"""
UPDATE jobs
SET pending = pending - 1,
    state = CASE WHEN state = 'waiting' AND pending <= 1 THEN {RELEASED} ELSE state END,
    queued_at = CASE WHEN state = 'waiting' AND pending <= 1 THEN NOW ELSE queued_at END,
    events = CASE WHEN state = 'waiting' AND pending <= 1 THEN {_event("released")} ELSE events END
WHERE id = :id
RETURNING queue
"""

ABANDON = f"""
UPDATE jobs SET state = 'cancelled', error = :error, ended_at = NOW, events = {_event("abandoned", error=":error")}
WHERE id = :id AND state = 'waiting'
RETURNING {AFTER}
"""

UNSUCCESSFUL_BEFORE = """
SELECT before.id FROM jobs AS job JOIN jobs AS before ON before.id = job.follows
WHERE job.id = :id AND job.state IN ('failed', 'cancelled') AND job.pending > 0
  AND before.state IN ('failed', 'cancelled')
"""

PUT_BACK = f"""
UPDATE jobs
SET state = CASE WHEN pending > 0 THEN 'waiting' ELSE 'queued' END,
    error = '', ended_at = NULL, run_at = NULL, queued_at = NOW, losses = 0, done = NULL, total = NULL, note = '',
    events = {_event("put back")}
WHERE id = :id AND state IN ('failed', 'cancelled')
  AND NOT EXISTS (SELECT 1 FROM jobs AS other WHERE other.unique_key = jobs.unique_key AND other.state IN {OPEN_STATES})
RETURNING {AFTER}, counted
"""

WAIT_AGAIN = f"""
UPDATE jobs SET state = 'waiting', error = '', ended_at = NULL, events = {_event("put back")}
WHERE id = :id AND state = 'cancelled' AND pending > 0
RETURNING {AFTER}, counted
"""

AWAIT_ONE_MORE = "UPDATE jobs SET pending = pending + 1 WHERE id = :id AND state = 'waiting'"
UNCOUNT = "UPDATE jobs SET counted = FALSE WHERE id = :id"

TAKE_PLACE = "UPDATE jobs SET follower = :follower, chord_index = :chord_index WHERE id = :id"
FOLLOW = "UPDATE jobs SET follows = :after WHERE id = :id AND follows = :before"

RETRIES_LEFT = "SELECT id, retries, retry_delay FROM jobs WHERE token = :token"

STILL_HELD = "SELECT 1 FROM jobs WHERE id = :id AND token = :token"
HOLD = f"{STILL_HELD} FOR UPDATE"

PROGRESS = """
UPDATE jobs SET done = :done, total = :total, note = :note WHERE id = :id AND token = :token
"""

STEP_NAMES = "SELECT name FROM steps WHERE job_id = :id"
STEP = "SELECT media_type, body FROM steps WHERE job_id = :id AND name = :name"
SAVE_STEP = """
INSERT INTO steps (job_id, name, media_type, body, saved_at) VALUES (:id, :name, :media_type, :body, NOW)
ON CONFLICT (job_id, name) DO NOTHING
"""

SAVE_LOG = f"""
INSERT INTO logs (job_id, lines) SELECT id, :lines FROM jobs WHERE id = :id AND token = :token FOR UPDATE
{_SAVE_LOG}
"""
SAVE_LOG_AT_END = f"INSERT INTO logs (job_id, lines) VALUES (:id, :lines) {_SAVE_LOG}"
LOG = f"SELECT logs.lines FROM jobs LEFT JOIN logs ON logs.job_id = jobs.id WHERE jobs.id = {RUN}"

SAVE_RESULT = f"""
INSERT INTO results (job_id, media_type, body, saved_at) VALUES (:id, :media_type, :body, NOW)
{_SAVE_RESULT}
"""
DELETE_RESULT = "DELETE FROM results WHERE job_id = :id"

STEP_BACK = """
SELECT count(*) AS n, min(seq) AS oldest
FROM (SELECT seq FROM jobs WHERE seq < :before ORDER BY seq DESC LIMIT :limit) AS newest
"""
STRETCH = """
SELECT max(seq) AS last, min(seq) < :oldest OR min(created_at) < NOW - :keep AS old
FROM (SELECT seq, created_at FROM jobs WHERE seq > :after ORDER BY seq LIMIT :limit) AS stretch
"""  # a job that was submitted too late to be old ended later still
_OLD = f"{{job}}.state IN {ENDED_STATES} AND ({{job}}.seq < :oldest OR {{job}}.ended_at < NOW - :keep)"
OLD = f"""
SELECT id FROM jobs
WHERE seq > :after AND seq <= :last AND {_OLD.format(job="jobs")}
  AND COALESCE((SELECT {_OLD.format(job="after_it")} FROM jobs AS after_it WHERE after_it.id = jobs.follower), TRUE)
FOR UPDATE SKIP LOCKED
"""  # not what another may still need, now or when it is put back
PRUNE = """
DELETE FROM jobs
WHERE id IN EACH(:ids)
  AND (unique_key IS NULL OR NOT EXISTS (
      SELECT 1 FROM handles
      WHERE job_id = jobs.id AND handles.created_at > jobs.ended_at AND handles.created_at > NOW - :joined))
RETURNING id
"""  # not one whose result was given to somebody of late
PRUNE_RESULTS = "DELETE FROM results WHERE job_id IN EACH(:ids)"
PRUNE_STEPS = "DELETE FROM steps WHERE job_id IN EACH(:ids)"
PRUNE_HANDLES = "DELETE FROM handles WHERE job_id IN EACH(:ids)"
PRUNE_UPDATES = "DELETE FROM callback_updates WHERE job_id IN EACH(:ids)"
PRUNE_ANSWERS = "DELETE FROM callback_answers WHERE job_id IN EACH(:ids)"
PRUNE_LOGS = "DELETE FROM logs WHERE job_id IN EACH(:ids)"
PRUNE_REVOCATIONS = "DELETE FROM entries WHERE key IN EACH(:keys)"
PRUNE_ENTRIES = """
WITH stale AS MATERIALIZED (
    SELECT key FROM entries WHERE expires_at < NOW - :age ORDER BY expires_at LIMIT :limit FOR UPDATE SKIP LOCKED)
DELETE FROM entries WHERE key IN (SELECT key FROM stale)
RETURNING key
"""

# A dataset's row is locked until its next version is committed, so versions are numbered in the order of their commits.
NEXT_VERSION = """
INSERT INTO datasets (name, version) VALUES (:name, 1)
ON CONFLICT (name) DO UPDATE SET version = datasets.version + 1
RETURNING version
"""
SAVE_VERSION = """
INSERT INTO dataset_versions (name, version, as_of, saved_at, job_id, rows, size, digest, media_type, body)
VALUES (:name, :version, COALESCE(:as_of, NOW), NOW, :job_id, :rows, :size, :digest, :media_type, :body)
"""
DELETE_VERSIONS = "DELETE FROM dataset_versions WHERE name = :name AND version <= :until"
NEWEST_VERSION = """
SELECT kept.version, as_of, saved_at, job_id, rows, size, digest, media_type, NOW - as_of AS age_s
FROM datasets JOIN dataset_versions AS kept ON kept.name = datasets.name AND kept.version = datasets.version
WHERE datasets.name = :name
"""
VERSION = "SELECT digest, media_type, body FROM dataset_versions WHERE name = :name AND version = :version"
KEPT_VERSIONS = "SELECT version FROM dataset_versions WHERE name = :name ORDER BY version"
LAST_REFRESH = """
SELECT id, state, error
FROM (SELECT seq, id, state, error FROM jobs WHERE task >= :task AND task <= :task AND seq > 0
      ORDER BY task DESC, seq DESC LIMIT 20) AS latest
WHERE state = 'succeeded' OR error <> '' AND state <> 'cancelled'
ORDER BY seq DESC LIMIT 1
"""  # more than twenty that wait would be a heap; by a range, as only the index of tasks has this order (see TURN)

GREET = """
INSERT INTO consumers (id, host, pid, workers, tasks, queues, version, started_at, seen_at)
VALUES (:id, :host, :pid, :workers, :tasks, :queues, :version, NOW, NOW)
"""
FORGET = "DELETE FROM consumers WHERE seen_at < NOW - :age"
LEAVE = "UPDATE consumers SET left_at = NOW, seen_at = NOW WHERE id = :id"  # until now somebody knew its tasks
SEEN = "UPDATE consumers SET seen_at = NOW, draining = :draining, processes = :processes WHERE id = :id"
CONSUMERS = """
SELECT id, host, pid, workers, tasks, queues, version, draining, processes, started_at, seen_at,
       NOW - seen_at AS silent_s
FROM consumers WHERE left_at IS NULL ORDER BY started_at
"""

RENEW = """
WITH held AS MATERIALIZED (
    SELECT seq FROM jobs WHERE token IN EACH(:tokens) FOR UPDATE SKIP LOCKED)
UPDATE jobs SET lease_until = NOW + :lease WHERE seq IN (SELECT seq FROM held)
"""  # a row that is locked belongs to a job that ends just now
HELD_BY_CONSUMERS = """
SELECT id, task, consumer, worker FROM jobs WHERE consumer IN EACH(:consumers) AND state = 'running'
"""
HELD_BY_CONSUMER = "SELECT token FROM jobs WHERE consumer = :consumer AND state = 'running'"
HELD_BY_WORKER = "SELECT id, token FROM jobs WHERE consumer = :consumer AND worker = :worker AND state = 'running'"
LAPSED = """
SELECT id, token, worker FROM jobs
WHERE lease_until < NOW AND NOT token IN EACH(:held)
ORDER BY lease_until LIMIT :limit FOR UPDATE SKIP LOCKED
"""

ANY_DUE = "SELECT 1 FROM jobs WHERE state = 'scheduled' AND run_at <= NOW LIMIT 1"
PROMOTE = f"""
WITH due AS MATERIALIZED (
    SELECT seq FROM jobs WHERE state = 'scheduled' AND run_at <= NOW
    ORDER BY run_at LIMIT :limit FOR UPDATE SKIP LOCKED)
UPDATE jobs SET state = 'queued', queued_at = NOW, events = {_event("due")} WHERE seq IN (SELECT seq FROM due)
RETURNING id, queue
"""

QUEUED_TASKS = """
WITH RECURSIVE queued (task) AS (
    SELECT min(task) FROM jobs WHERE state = 'queued' AND queued_at > 0
    UNION ALL
    SELECT (SELECT min(task) FROM jobs WHERE state = 'queued' AND queued_at > 0 AND task > queued.task) FROM queued
    WHERE queued.task IS NOT NULL)
SELECT task FROM queued WHERE task IS NOT NULL
"""  # a step of the index a task, however many jobs wait
KNOWN_TASKS = "SELECT tasks FROM consumers WHERE seen_at > NOW - :age"
UNKNOWN = """
SELECT id FROM jobs WHERE state = 'queued' AND task = :task AND queued_at > 0 AND queued_at < NOW - :age
ORDER BY queued_at LIMIT :limit FOR UPDATE SKIP LOCKED
"""  # locked, so that what is found unknown is still queued when it fails
FAIL_UNKNOWN = f"""
UPDATE jobs SET state = 'failed', error = :error, ended_at = NOW, events = {_event("unknown", error=":error")} WHERE id = :id
RETURNING {AFTER}
"""

REGISTER = """
INSERT INTO schedules (name, phrase, watermark, note) VALUES (:name, :phrase, NOW, '') ON CONFLICT (name) DO NOTHING
"""
REPHRASE = "UPDATE schedules SET phrase = :phrase, watermark = NOW WHERE name = :name AND phrase <> :phrase"
SCHEDULE_NAMES = "SELECT name FROM schedules"
DROP = "DELETE FROM schedules WHERE name IN EACH(:names)"
OTHERS = "SELECT tasks FROM consumers WHERE id <> :consumer AND left_at IS NULL AND seen_at > NOW - :age"
WATERMARKS = "SELECT name, watermark, paused_at FROM schedules WHERE name IN EACH(:names)"
ADVANCE = """
UPDATE schedules SET watermark = :due WHERE name = :name AND watermark = :watermark AND paused_at IS NULL
RETURNING last_job
"""
GOES_ON = f"""
SELECT id, state, attempt FROM jobs WHERE id = :id AND state NOT IN {ENDED_STATES} AND follower IS NULL FOR UPDATE
"""
MARK = "UPDATE jobs SET due_at = :due_at, made_up = :made_up WHERE id = :id"
TELL = """
UPDATE schedules SET last_due = COALESCE(:due, last_due), last_job = COALESCE(:job, last_job), note = :note
WHERE name = :name
"""
SCHEDULES = "SELECT name, last_due, last_job, paused_at, note FROM schedules"
PAUSE = "UPDATE schedules SET paused_at = NOW WHERE name = :name AND paused_at IS NULL"
RESUME = "UPDATE schedules SET paused_at = NULL, watermark = NOW WHERE name = :name AND paused_at IS NOT NULL"

LOOK = f"""
SELECT {JOB}, {HANDLE}, results.body AS failure, EXISTS (SELECT 1 FROM steps WHERE steps.job_id = jobs.id) AS has_steps
FROM jobs LEFT JOIN results ON results.job_id = jobs.id AND results.media_type = :error
LEFT JOIN handles ON handles.id = :id
WHERE jobs.id = {RUN}
"""
AHEAD = f"""
SELECT (SELECT count(*) FROM (
            SELECT 1 FROM jobs WHERE state = 'queued' AND turn >= 0 AND queue = job.queue AND priority > job.priority
            ORDER BY priority, turn LIMIT :most) AS more_urgent) +
       (SELECT count(*) FROM (
            SELECT 1 FROM jobs WHERE state = 'queued' AND turn >= 0 AND queue = job.queue AND priority = job.priority
              AND turn <= job.turn AND (turn < job.turn OR seq < job.seq)
            ORDER BY turn LIMIT :most) AS earlier) AS n
FROM jobs AS job WHERE id = {RUN} AND state = 'queued'
"""  # as a claim takes those of one queue, whatever their tasks; the orders are those of the index of all turns
RESULT = f"""
SELECT {STATE_OF_HANDLE} AS state, jobs.error, results.media_type, results.body
FROM jobs LEFT JOIN handles ON handles.id = :id
LEFT JOIN results ON results.job_id = jobs.id AND handles.let_go_at IS NULL
WHERE jobs.id = {RUN}
"""
ENDED = f"""
SELECT 1 FROM jobs
WHERE id = {RUN}
  AND (state IN {ENDED_STATES} OR EXISTS (SELECT 1 FROM handles WHERE id = :id AND let_go_at IS NOT NULL))
"""
HISTORY = f"SELECT created_at, events FROM jobs WHERE id = {RUN}"
MEMBERS = """
SELECT jobs.id, jobs.state, jobs.error, results.media_type, results.body
FROM jobs LEFT JOIN results ON results.job_id = jobs.id
WHERE jobs.follower = :id ORDER BY jobs.chord_index
"""
LIST = f"""
SELECT {JOB}, NULL AS failure, NULL AS has_steps
FROM jobs WHERE {{conditions}} AND seq > 0 ORDER BY {{order}} LIMIT :limit
"""
LIST_HANDLES = f"""
SELECT {JOB}, {HANDLE}, NULL AS failure, NULL AS has_steps
FROM handles JOIN jobs ON jobs.id = handles.job_id
WHERE {{conditions}} ORDER BY handles.seq DESC LIMIT :limit
"""
COUNT_STATE = "SELECT count(*) AS n FROM jobs WHERE state = :state AND seq > 0"
MESSAGES = """
SELECT message FROM jobs WHERE state = :state AND seq > 0 ORDER BY priority DESC, run_at, seq LIMIT :limit
"""
IDS = "SELECT id FROM jobs WHERE state = :state AND seq > 0"

PUT = """
INSERT INTO entries (key, value) VALUES (:key, :value)
ON CONFLICT (key) DO UPDATE SET value = excluded.value, holder = NULL, expires_at = NULL
"""
TAKE_NEW_KEY = """
INSERT INTO entries (key, value, holder, expires_at) VALUES (:key, :value, :holder, NOW + :ttl)
ON CONFLICT (key) DO NOTHING
"""
HOLD_KEY = "SELECT 1 FROM entries WHERE key = :key FOR UPDATE"
TAKE_FREE_KEY = """
UPDATE entries SET value = :value, holder = :holder, expires_at = NOW + :ttl
WHERE key = :key
  AND (expires_at < NOW
       OR :again AND holder = :holder
       OR holder IS NOT NULL AND NOT EXISTS (SELECT 1 FROM jobs WHERE token = entries.holder))
"""
PEEK = """
SELECT key, value FROM entries
WHERE key IN EACH(:keys)
  AND (expires_at IS NULL OR expires_at >= NOW)
  AND (holder IS NULL OR EXISTS (SELECT 1 FROM jobs WHERE token = entries.holder))
"""
POP = "DELETE FROM entries WHERE key = :key RETURNING value"
DELETE_ENTRY = "DELETE FROM entries WHERE key = :key"
RELEASE_LOCK = """
DELETE FROM entries
WHERE key = :key
  AND (holder IS NULL OR holder = :holder
       OR NOT EXISTS (SELECT 1 FROM jobs WHERE token = entries.holder))
"""
DELETE_STALE_LOCK = """
DELETE FROM entries
WHERE key = :key
  AND (holder IS NULL OR NOT EXISTS (SELECT 1 FROM jobs WHERE token = entries.holder))
"""
ENTRIES = "SELECT key, value FROM entries"
ADD = """
INSERT INTO counters (key, value) VALUES (:key, :amount)
ON CONFLICT (key) DO UPDATE SET value = counters.value + excluded.value
RETURNING value
"""
DELETE_COUNTER = "DELETE FROM counters WHERE key = :key"
RESULT_IDS = "SELECT job_id FROM results"
FLUSH_RESULTS = "DELETE FROM results"
FLUSH_ENTRIES = "DELETE FROM entries"
FLUSH_COUNTERS = "DELETE FROM counters"

# Of a look at a callback's job, the first row is the job, and the others are what it has said since.
CALLBACK = """
SELECT 0 AS seq, '' AS name, results.body, jobs.state, jobs.error, jobs.owner, results.media_type
FROM jobs LEFT JOIN results ON results.job_id = jobs.id
WHERE jobs.id = :id
UNION ALL
SELECT seq, name, body, '', '', NULL, NULL FROM callback_updates WHERE job_id = :id AND seq > :seen
ORDER BY seq
"""
SAY = """
INSERT INTO callback_updates (job_id, name, seq, body)
SELECT id, :name, :seq, :body FROM jobs WHERE id = :id AND token = :token
ON CONFLICT (job_id, name) DO UPDATE SET seq = excluded.seq, body = excluded.body
"""
ANSWERED_BY = """
UPDATE callback_answers SET used_at = NOW
WHERE question = :question
  AND EXISTS (SELECT 1 FROM jobs JOIN results ON results.job_id = jobs.id
              WHERE jobs.id = callback_answers.job_id AND jobs.state = 'succeeded'
                AND (jobs.ended_at > NOW - :expire OR callback_answers.used_at > NOW - :expire))
RETURNING job_id
"""
TO_BE_ANSWERED_BY = """
INSERT INTO callback_answers (question, job_id, used_at) VALUES (:question, :id, NOW)
ON CONFLICT (question) DO UPDATE SET job_id = excluded.job_id, used_at = excluded.used_at
"""
