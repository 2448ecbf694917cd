"""The SQL of listing.py: jobs by any filter, newest first, and figures of what goes on. As in statements.py.

`returns >= 0` and `seq > 0` are true of every job, and say which indexes may serve: `jobs_listed` has in it all that a filter
may name, so that to look through all jobs is to look through that index; with `seq > 0` those of one column do too.
"""

from jobqueue.statements import STATE_OF_HANDLE

_REST = """
jobs.task, jobs.queue, jobs.attempt, jobs.queued_at, jobs.run_at, jobs.claimed_at, jobs.done, jobs.total, jobs.note, NOW AS now
""".strip()
SHOWN = f"jobs.id, jobs.state, jobs.owner, jobs.created_at, jobs.ended_at, jobs.error, {_REST}"
SHOWN_OF_HANDLE = f"""
handles.id, {STATE_OF_HANDLE} AS state, handles.owner, handles.created_at, {_REST},
COALESCE(handles.let_go_at, jobs.ended_at) AS ended_at,
CASE WHEN handles.let_go_at IS NULL THEN jobs.error ELSE 'Cancelled.' END AS error
""".strip()

# Conditions are put in by what is asked for: of CONDITIONS those that are.
CONDITIONS = {
    "state": "state = :state",
    "task": "task = :task",
    "queue": "queue = :queue",
    "owner": "owner = :owner AND unique_key IS NULL",  # of shared runs an owner has handles
    "first": "seq >= :first",
}
CONDITIONS_OF_HANDLES = {
    "state": f"{STATE_OF_HANDLE} = :state",
    "task": "jobs.task = :task",
    "queue": "jobs.queue = :queue",
    "age": "handles.created_at > NOW - :age",
    "text": r"""
    (jobs.id = :text OR handles.id = :text OR jobs.task IN EACH(:tasks) OR lower(jobs.error) LIKE :pattern ESCAPE '\')
    """.strip(),
}
_NEWEST = "ORDER BY seq DESC LIMIT :upto"
FOUND = f"SELECT seq FROM jobs WHERE {{conditions}} AND seq > 0 AND returns >= 0 {_NEWEST} OFFSET :offset"
# A text is one of an id, or its beginning; of a task; or of an error: one of the newest, or any that an index of words leads to.
NEWEST_ERRORS = r"""
SELECT seq
FROM (SELECT seq, state, task, queue, owner, unique_key, error FROM jobs
      WHERE error <> '' AND returns >= 0 AND seq >= :errors_since ORDER BY seq DESC LIMIT :errors) AS newest
WHERE lower(error) LIKE :pattern ESCAPE '\' AND {conditions}
"""
ERRORS_BY_WORDS = rf"""
{NEWEST_ERRORS} UNION SELECT seq
FROM (SELECT seq, state, task, queue, owner, unique_key FROM jobs
      WHERE error <> '' AND lower(error) LIKE :pattern ESCAPE '\' LIMIT :errors) AS some_of_them
WHERE {{conditions}}
"""
FOUND_BY_TEXT = rf"""
SELECT seq FROM (
    SELECT seq FROM (
        SELECT seq FROM jobs
        WHERE seq IN (SELECT seq FROM jobs WHERE id >= :text AND id < :text_ends ORDER BY id LIMIT 1000)
          AND id LIKE :beginning ESCAPE '\' AND {{conditions}}
        {_NEWEST}) AS of_id
    UNION
    SELECT seq FROM (
        SELECT seq FROM jobs
        WHERE task IN EACH(:tasks) AND {{conditions}} AND seq > 0 AND returns >= 0 {_NEWEST}) AS of_task
    UNION
    {{errors}}) AS found
{_NEWEST} OFFSET :offset
"""
PAGE = f"SELECT {SHOWN} FROM jobs WHERE seq IN ({{found}}) ORDER BY seq DESC"
PAGE_OF_HANDLES = f"""
SELECT {SHOWN_OF_HANDLE}
FROM (SELECT * FROM handles WHERE owner = :owner ORDER BY seq DESC LIMIT :newest) AS handles
JOIN jobs ON jobs.id = handles.job_id
WHERE {{conditions}} ORDER BY handles.seq DESC LIMIT :upto
"""

# Jobs are in the order of their submits: when the first was made that is no older, a few looks by `seq` tell.
ENDS = """
SELECT (SELECT min(seq) FROM jobs WHERE seq > 0) AS first, (SELECT max(seq) FROM jobs WHERE seq > 0) AS last
"""
AT = "SELECT seq, created_at < NOW - :age AS older FROM jobs WHERE seq >= :seq ORDER BY seq LIMIT 1"

TASKS = """
WITH RECURSIVE known (task, n) AS (
    SELECT min(task), 1 FROM jobs WHERE seq > 0
    UNION ALL
    SELECT (SELECT min(task) FROM jobs WHERE seq > 0 AND task > known.task), n + 1 FROM known
    WHERE known.task IS NOT NULL AND n < :limit)
SELECT task FROM known WHERE task IS NOT NULL
"""  # a step of the index a task
WORDS = "SELECT to_regclass('jobs_words') IS NOT NULL AS there"
STATES = "SELECT id, state, error FROM jobs WHERE id IN EACH(:ids)"
STEPS = "SELECT name, saved_at, length(body) AS bytes FROM steps WHERE job_id = :id ORDER BY saved_at DESC LIMIT :limit"
RUN_OF = "SELECT COALESCE((SELECT job_id FROM handles WHERE id = :id), :id) AS id"

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
# An owner's figures are of the newest jobs, and of the newest handles.
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

# What ended in each stretch of time; and of some of these jobs, how long they had waited and run.
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
