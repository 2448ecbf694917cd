"""The consumer that is elected to do the housekeeping for all."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.create_table(
        "housekeeping",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),  # 1: there is one row
        sa.Column("consumer", sa.Text, nullable=False),
        sa.Column(
            "may_rescue", sa.Integer, nullable=False
        ),  # 1 if it may requeue the jobs of consumers that are silent
        sa.Column("until", sa.Float, nullable=False),  # when its term ends
    )
