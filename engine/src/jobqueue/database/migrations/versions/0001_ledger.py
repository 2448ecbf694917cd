"""The ledger: jobs, results, steps, consumers, and Huey's keys and counters.

Times are seconds since the epoch on the database's clock.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


BIG = sa.BigInteger().with_variant(sa.Integer, "sqlite")  # SQLite's INTEGER has 64 bits


def upgrade() -> None:
    op.create_table(
        "jobs",
        sa.Column("seq", BIG, primary_key=True, autoincrement=True),  # the order of submission
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column("task", sa.Text, nullable=False),  # the full name: module.function
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("priority", sa.Float, nullable=False),
        sa.Column("owner", sa.Text),
        sa.Column("message", sa.LargeBinary, nullable=False),  # Huey's signed message; never changed after the submit
        sa.Column("run_at", sa.Float),
        sa.Column("queued_at", sa.Float, nullable=False),  # when it last entered the queue
        sa.Column("expires_at", sa.Float),
        sa.Column("retries", sa.Integer, nullable=False),  # retries left
        sa.Column("retry_delay", sa.Float, nullable=False),  # seconds before the next retry
        # The claim that holds the job while it runs. All but `attempt` are about the last claim.
        sa.Column("token", sa.Text),
        sa.Column("consumer", sa.Text),
        sa.Column("worker", sa.Text),
        sa.Column("claimed_at", sa.Float),
        sa.Column("lease_until", sa.Float),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("losses", sa.Integer, nullable=False),  # attempts that died with their worker
        sa.Column("returns", sa.Integer, nullable=False),  # attempts released by a consumer that stopped
        # Dependencies. A chord's callback waits for `chord_size` members; a job in a pipeline waits for the one before it.
        sa.Column("follower", sa.Text),  # the job that waits for this one
        sa.Column("chord_index", sa.Integer),  # this job's place among the members of its chord
        sa.Column("counted", sa.Boolean, nullable=False),  # whether the follower's `pending` counts this job as ended
        sa.Column("pending", sa.Integer, nullable=False),  # the number of jobs that this job still waits for
        sa.Column("follows", sa.Text),  # the job before it in a pipeline; this job gets its result
        sa.Column("chord_size", sa.Integer),
        sa.Column("done", sa.Float),
        sa.Column("total", sa.Float),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("error", sa.Text, nullable=False),  # a sentence for people
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("ended_at", sa.Float),
        sqlite_autoincrement=True,
    )
    # A statement uses a partial index only if it names the index's condition. Giving each index its own condition keeps the
    # planner from choosing the wrong one of two, which it does with outdated statistics. `seq > 0` is true for every job.
    indexes: list[tuple[str, list[Any], str]] = [
        ("jobs_to_claim", ["task", sa.text("priority DESC"), "seq"], "state = 'queued'"),
        ("jobs_queued", ["task", "queued_at"], "state = 'queued' AND queued_at > 0"),
        ("jobs_due", ["run_at"], "state = 'scheduled'"),
        ("jobs_held", ["consumer", "worker"], "state = 'running'"),
        ("jobs_leases", ["lease_until"], "lease_until IS NOT NULL"),
        ("jobs_tokens", ["token"], "token IS NOT NULL"),
        ("jobs_members", ["follower"], "follower IS NOT NULL"),
        ("jobs_of_task", ["task", "seq"], "seq > 0"),
        ("jobs_of_state", ["state", "seq"], "seq > 0"),
        ("jobs_of_owner", ["owner", "seq"], "owner IS NOT NULL AND seq > 0"),
    ]
    for name, columns, where in indexes:
        op.create_index(name, "jobs", columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where))
    if op.get_context().dialect.name == "postgresql":  # rows change often: leave room in each page, and vacuum early
        op.execute("ALTER TABLE jobs SET (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02)")

    op.create_table(
        "results",
        sa.Column("job_id", sa.Text, primary_key=True),
        sa.Column("media_type", sa.Text, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("saved_at", sa.Float, nullable=False),
    )
    op.create_table(
        "steps",
        sa.Column("job_id", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("media_type", sa.Text, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("saved_at", sa.Float, nullable=False),
    )
    op.create_table(  # Huey's key/value store: revocations, locks, rate-limit windows, and entries of tasks
        "entries",
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("value", sa.LargeBinary, nullable=False),
        sa.Column("holder", sa.Text),  # the token of the claim that holds this lock; NULL: not a lock of a claim
        sa.Column("expires_at", sa.Float),
    )
    op.create_table(
        "counters",
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("value", BIG, nullable=False),
    )
    op.create_table(
        "consumers",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("pid", sa.Integer, nullable=False),
        sa.Column("workers", sa.Integer, nullable=False),
        sa.Column("tasks", sa.Text, nullable=False),  # the tasks in its code, as a JSON list
        sa.Column("started_at", sa.Float, nullable=False),
        sa.Column("seen_at", sa.Float, nullable=False),
        sa.Column("left_at", sa.Float),  # when it deregistered
    )
