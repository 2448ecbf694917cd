"""Schedules: up to when each has been dealt with, and which jobs are fires of one."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "schedules",
        sa.Column("name", sa.Text, primary_key=True),  # the task's
        sa.Column("phrase", sa.Text, nullable=False),  # in plain English
        sa.Column("watermark", sa.Float, nullable=False),  # what was due until then has fired, or never will
        sa.Column("last_due", sa.Float),  # the last moment that fired
        sa.Column("last_job", sa.Text),
        sa.Column("paused_at", sa.Float),
        sa.Column("note", sa.Text, nullable=False),  # what was out of the ordinary the last time, for people
    )
    op.add_column("jobs", sa.Column("due_at", sa.Float))  # the moment for which a schedule fired
    op.add_column("jobs", sa.Column("made_up", sa.Boolean))  # after a time without a consumer
