"""Schedules: the watermark of each, and the jobs that they fired."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "schedules",
        sa.Column("name", sa.Text, primary_key=True),  # the task's name
        sa.Column("phrase", sa.Text, nullable=False),  # its description in plain English
        sa.Column("watermark", sa.Float, nullable=False),  # fires due up to this time have fired or been skipped
        sa.Column("last_due", sa.Float),  # the due time of the last fire
        sa.Column("last_job", sa.Text),
        sa.Column("paused_at", sa.Float),
        sa.Column("note", sa.Text, nullable=False),  # an exceptional event of the last fire, for people
    )
    op.add_column("jobs", sa.Column("due_at", sa.Float))  # the due time for which a schedule fired this job
    op.add_column(
        "jobs", sa.Column("made_up", sa.Boolean)
    )  # whether it was missed while no consumer ran, and fired later
