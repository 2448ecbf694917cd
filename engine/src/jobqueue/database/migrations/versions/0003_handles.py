"""Unique jobs: a run that several submissions share, and a handle for each submission.

A run has an id of its own that no submitter sees. A submitter acts through the id of its handle, and so affects only itself.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


BIG = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.add_column("jobs", sa.Column("unique_key", sa.Text))  # equal for submissions that share a run
    not_ended = "unique_key IS NOT NULL AND state IN ('waiting', 'scheduled', 'queued', 'running')"
    succeeded = "unique_key IS NOT NULL AND state = 'succeeded'"
    for name, columns, where in (
        ("jobs_unique", ["unique_key"], not_ended),  # one run with a key at a time
        ("jobs_recent", ["unique_key", "ended_at"], succeeded),
    ):
        op.create_index(
            name,
            "jobs",
            columns,
            unique=name == "jobs_unique",
            sqlite_where=sa.text(where),
            postgresql_where=sa.text(where),
        )

    op.create_table(
        "handles",
        sa.Column("seq", BIG, primary_key=True, autoincrement=True),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column("job_id", sa.Text, nullable=False),
        sa.Column("owner", sa.Text),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("let_go_at", sa.Float),  # when its owner cancelled it
        sqlite_autoincrement=True,
    )
    owned = sa.text("owner IS NOT NULL")
    op.create_index("handles_of_job", "handles", ["job_id"])
    op.create_index("handles_of_owner", "handles", ["owner", "seq"], sqlite_where=owned, postgresql_where=owned)
