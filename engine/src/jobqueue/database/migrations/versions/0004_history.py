"""What happened to each job, what it logged, and which processes work.

Old code beside new: it changes states without a word here.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("events", sa.Text, nullable=False, server_default=""))  # JSON, a line each
    op.create_table(
        "logs",
        sa.Column("job_id", sa.Text, primary_key=True),
        sa.Column("lines", sa.Text, nullable=False),  # JSON, a line each
    )
    where = "expires_at IS NOT NULL"
    op.create_index(
        "entries_expired", "entries", ["expires_at"], sqlite_where=sa.text(where), postgresql_where=sa.text(where)
    )
    op.add_column("consumers", sa.Column("version", sa.Text))  # of its code
    op.add_column("consumers", sa.Column("draining", sa.Boolean, nullable=False, server_default=sa.false()))
    # Its workers, as JSON.
    op.add_column("consumers", sa.Column("processes", sa.Text, nullable=False, server_default="[]"))
