"""Named queues, turns between owners, and which queues a consumer serves.

Code from before claims without regard to queues, and what it submits comes before all that have a turn: both only as long as
the deploy lasts.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

BIG = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.add_column("jobs", sa.Column("queue", sa.Text, nullable=False, server_default="default"))
    op.add_column("jobs", sa.Column("turn", BIG, nullable=False, server_default="0"))  # the least is claimed first
    op.add_column("consumers", sa.Column("queues", sa.Text))  # that it serves, as a JSON list; NULL: every queue

    flow = sa.text("COALESCE(owner, '')")  # those whose jobs take turns; jobs without an owner are one of them
    first = [sa.text("priority DESC"), "turn", "seq"]
    # `attempt >= 0`, `losses >= 0` and `turn >= 0` are true of every job: each asks for its own of these.
    indexes: list[tuple[str, list[Any], str]] = [
        ("jobs_in_queue", ["queue", "task", *first], "state = 'queued' AND attempt >= 0"),
        ("jobs_in_queue_of_owner", ["queue", "task", flow, *first], "state = 'queued' AND losses >= 0"),
        ("jobs_turns", ["queue", "priority", "turn"], "state = 'queued' AND turn >= 0"),
        ("jobs_turns_of_owner", ["queue", "priority", flow, "turn"], "state = 'queued' AND turn >= 0"),
        ("jobs_turns_running", ["queue", "priority", "turn"], "state = 'running' AND turn >= 0"),
    ]
    for name, columns, where in indexes:
        op.create_index(name, "jobs", columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where))
    # Older code that still runs sorts a task's queued jobs at each claim, until its deploy is over; to keep it for that
    # would cost every submit an entry for ever.
    op.drop_index("jobs_to_claim", "jobs")
