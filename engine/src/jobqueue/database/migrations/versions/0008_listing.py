"""What the jobs page asks for: lists by any filter, what ended lately, and words in errors.

A job has an entry in `jobs_listed` for each of its states, and one in `jobs_ended` for its end; in the others it has one only
if something went wrong. None of them names a column that changes while a job runs.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

# Without the extension, or the right to make it, the page looks for words in the errors of the last 30 days alone.
WORDS = """
DO $$ BEGIN
    CREATE EXTENSION IF NOT EXISTS pg_trgm;
    CREATE INDEX jobs_words ON jobs USING gin (lower(error) gin_trgm_ops) WHERE error <> '';
EXCEPTION WHEN OTHERS THEN
    RAISE NOTICE 'No index of words: %', SQLERRM;
END $$
"""


def upgrade() -> None:
    shown = [
        "state",
        "task",
        "queue",
        "owner",
        "unique_key",
    ]  # so that a walk through all jobs is one through this index
    if op.get_context().dialect.name == "postgresql":
        every = sa.text("returns >= 0")  # true of every job, so that no other statement takes it
        op.create_index("jobs_listed", "jobs", ["seq"], postgresql_include=shown, postgresql_where=every)
        op.execute(WORDS)
    else:
        op.create_index("jobs_listed", "jobs", ["seq", *shown], sqlite_where=sa.text("returns >= 0"))
    for name, columns, where in (
        ("jobs_ended", ["state", "ended_at"], "ended_at IS NOT NULL AND returns >= 0"),
        ("jobs_errors", ["seq"], "error <> '' AND returns >= 0"),
    ):
        op.create_index(name, "jobs", columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where))
