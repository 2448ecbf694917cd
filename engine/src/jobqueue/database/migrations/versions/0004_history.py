"""The history and log of each job, and the status of each consumer's workers.

Older code that runs during the deploy changes states without adding to the history.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("events", sa.Text, nullable=False, server_default=""))  # one JSON list per line
    op.create_table(
        "logs",
        sa.Column("job_id", sa.Text, primary_key=True),
        sa.Column("lines", sa.Text, nullable=False),  # one JSON list per line
    )
    where = "expires_at IS NOT NULL"
    op.create_index(
        "entries_expired", "entries", ["expires_at"], sqlite_where=sa.text(where), postgresql_where=sa.text(where)
    )
    op.add_column("consumers", sa.Column("version", sa.Text))  # the version of its code
    op.add_column("consumers", sa.Column("draining", sa.Boolean, nullable=False, server_default=sa.false()))
    # The status of its workers, as a JSON list.
    op.add_column("consumers", sa.Column("processes", sa.Text, nullable=False, server_default="[]"))
