"""The ledger: jobs, their results and steps, and what Huey keeps beside them.

Times are seconds since the epoch on the database's clock.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


BIG = sa.BigInteger().with_variant(sa.Integer, "sqlite")  # whose integers are big enough


def upgrade() -> None:
    op.create_table(
        "jobs",
        sa.Column("seq", BIG, primary_key=True, autoincrement=True),  # first in, first out, among equals
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column("task", sa.Text, nullable=False),  # module.name, as Huey registers it
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("priority", sa.Float, nullable=False),
        sa.Column("owner", sa.Text),
        sa.Column("message", sa.LargeBinary, nullable=False),  # Huey's own, signed; never changed after the submit
        sa.Column("run_at", sa.Float),
        sa.Column("queued_at", sa.Float, nullable=False),  # when it came into the queue, the last time
        sa.Column("expires_at", sa.Float),
        sa.Column("retries", sa.Integer, nullable=False),  # left
        sa.Column("retry_delay", sa.Float, nullable=False),  # before the next one
        # The claim that holds the job while it runs.
        sa.Column("token", sa.Text),
        sa.Column("consumer", sa.Text),
        sa.Column("worker", sa.Text),
        sa.Column("claimed_at", sa.Float),
        sa.Column("lease_until", sa.Float),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("losses", sa.Integer, nullable=False),  # attempts that died with their worker
        sa.Column("returns", sa.Integer, nullable=False),  # attempts given back at a stop
        # What follows what. A chord's callback waits for `chord_size` members, the next of a pipeline for one job.
        sa.Column("follower", sa.Text),  # the job that waits for this one
        sa.Column("chord_index", sa.Integer),  # this one's place among its chord's members
        sa.Column("counted", sa.Boolean, nullable=False),  # the follower knows that this one has ended
        sa.Column("pending", sa.Integer, nullable=False),  # how many this one still waits for
        sa.Column("follows", sa.Text),  # the job before it in a pipeline, whose result it is given
        sa.Column("chord_size", sa.Integer),
        sa.Column("done", sa.Float),
        sa.Column("total", sa.Float),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("error", sa.Text, nullable=False),  # a sentence for people
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("ended_at", sa.Float),
        sqlite_autoincrement=True,
    )
    # A statement may use an index only if it says what that is restricted to. So each finds one that fits, and not two, of
    # which a database whose statistics are a minute old takes the wrong one. `seq > 0` is true of every job.
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
    if op.get_context().dialect.name == "postgresql":  # rows change often and briefly: leave room, and clean up early
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
    op.create_table(  # Huey's key/value side: revocations, locks, rate-limit windows, and what tasks put there
        "entries",
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("value", sa.LargeBinary, nullable=False),
        sa.Column("holder", sa.Text),  # the token of the claim that holds this lock
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
        sa.Column("tasks", sa.Text, nullable=False),  # that its code knows, as a JSON list
        sa.Column("started_at", sa.Float, nullable=False),
        sa.Column("seen_at", sa.Float, nullable=False),
        sa.Column("left_at", sa.Float),  # when it stopped, if it said so
    )
