"""What the jobs of Dash's background callbacks say while they run, and which job answers which question."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

BIG = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.create_table(
        "callback_updates",
        sa.Column("job_id", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, primary_key=True),  # what it is of: the next one of that name takes its place
        sa.Column("seq", BIG, nullable=False),  # grows within a job, over all its attempts
        sa.Column("body", sa.LargeBinary, nullable=False),  # JSON
    )
    op.create_table(  # results that count for other callers too
        "callback_answers",
        sa.Column("question", sa.Text, primary_key=True),  # a hash of what was asked
        sa.Column("job_id", sa.Text, nullable=False),
        sa.Column("used_at", sa.Float, nullable=False),
    )
    op.create_index("answers_of_job", "callback_answers", ["job_id"])
