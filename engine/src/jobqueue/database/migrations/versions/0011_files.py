"""Files: the input and output of jobs, in pieces, and the jobs that name each file."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"

BIG = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.create_table(
        "files",
        sa.Column("seq", BIG, primary_key=True, autoincrement=True),  # the order in which the sweep goes through them
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column("owner", sa.Text),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("media_type", sa.Text, nullable=False),
        sa.Column("size", BIG, nullable=False),  # bytes that are stored by now
        sa.Column("expected", BIG),  # bytes of the whole file, if they are known before it is complete
        sa.Column("sha256", sa.Text, nullable=False),  # of the content, in hexadecimal; empty until it is complete
        sa.Column("state", sa.Text, nullable=False),  # incomplete, complete, or deleted: its pieces are being deleted
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("touched_at", sa.Float, nullable=False),  # when its last piece came, or when it was completed
        sqlite_autoincrement=True,
    )
    op.create_table(
        "file_pieces",
        sa.Column("file_id", sa.Text, primary_key=True),
        sa.Column("start", BIG, primary_key=True, autoincrement=False),  # the offset of the piece's first byte
        sa.Column("body", sa.LargeBinary, nullable=False),
    )
    op.create_table(  # the jobs whose arguments or results name a file, or that saved it
        "job_files",
        sa.Column("file_id", sa.Text, primary_key=True),
        sa.Column("job_id", sa.Text, primary_key=True),
    )
    op.create_index("files_of_job", "job_files", ["job_id"])
