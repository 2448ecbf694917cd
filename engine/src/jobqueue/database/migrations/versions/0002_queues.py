"""Named queues, turns between owners, and the queues that a consumer serves.

Older code ignores queues when it claims, and submits jobs without a turn, which are claimed first. Both end with the deploy.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

BIG = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.add_column("jobs", sa.Column("queue", sa.Text, nullable=False, server_default="default"))
    op.add_column(
        "jobs", sa.Column("turn", BIG, nullable=False, server_default="0")
    )  # the lowest turn is claimed first
    op.add_column(
        "consumers", sa.Column("queues", sa.Text)
    )  # the queues that it serves, as a JSON list; NULL: every queue

    flow = sa.text("COALESCE(owner, '')")  # owners take turns; jobs without an owner count as jobs of one owner
    first = [sa.text("priority DESC"), "turn", "seq"]
    # `attempt >= 0`, `losses >= 0` and `turn >= 0` are true for every job. A statement names one of them to select an index.
    indexes: list[tuple[str, list[Any], str]] = [
        ("jobs_in_queue", ["queue", "task", *first], "state = 'queued' AND attempt >= 0"),
        ("jobs_in_queue_of_owner", ["queue", "task", flow, *first], "state = 'queued' AND losses >= 0"),
        ("jobs_turns", ["queue", "priority", "turn"], "state = 'queued' AND turn >= 0"),
        ("jobs_turns_of_owner", ["queue", "priority", flow, "turn"], "state = 'queued' AND turn >= 0"),
        ("jobs_turns_running", ["queue", "priority", "turn"], "state = 'running' AND turn >= 0"),
    ]
    for name, columns, where in indexes:
        op.create_index(name, "jobs", columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where))
    # Without this index, older code sorts a task's queued jobs at each claim until the deploy is over. Keeping the index would
    # cost every submit an entry for ever.
    op.drop_index("jobs_to_claim", "jobs")
