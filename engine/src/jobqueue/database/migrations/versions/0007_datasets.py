"""Datasets: values that periodic jobs save for others to read, in versions."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

BIG = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.create_table(  # the newest version of each, which a reader asks for first
        "datasets",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("version", BIG, nullable=False),
    )
    op.create_table(
        "dataset_versions",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("version", BIG, primary_key=True, autoincrement=False),
        sa.Column("as_of", sa.Float, nullable=False),
        sa.Column("saved_at", sa.Float, nullable=False),
        sa.Column("job_id", sa.Text, nullable=False),
        sa.Column("rows", BIG),
        sa.Column("size", BIG, nullable=False),  # bytes of the body
        sa.Column("digest", sa.Text, nullable=False),  # of the body; checks a copy in the cache
        sa.Column("media_type", sa.Text, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),  # the last column, so that SQLite can skip it
    )
