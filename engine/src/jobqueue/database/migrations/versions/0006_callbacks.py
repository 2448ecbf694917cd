"""Updates of Dash background callbacks while they run, and cached answers of callbacks."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

BIG = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.create_table(
        "callback_updates",
        sa.Column("job_id", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, primary_key=True),  # the kind of update; a later one replaces it
        sa.Column("seq", BIG, nullable=False),  # increases within a job, across its attempts
        sa.Column("body", sa.LargeBinary, nullable=False),  # JSON
    )
    op.create_table(  # results that other callers may reuse
        "callback_answers",
        sa.Column("question", sa.Text, primary_key=True),  # a hash of the callback and its arguments
        sa.Column("job_id", sa.Text, nullable=False),
        sa.Column("used_at", sa.Float, nullable=False),
    )
    op.create_index("answers_of_job", "callback_answers", ["job_id"])
