"""Indexes for the jobs page: lists by any filter, recently ended jobs, and a search for words in errors.

A job adds an entry to `jobs_listed` for each change of state, one to `jobs_ended` when it ends, and one to the others only if it
has an error. No index has a column that changes while a job runs.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

# Without the extension, or the right to create it, the page searches only the errors of the last 30 days.
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
    ]  # a filter over all jobs reads only this index
    if op.get_context().dialect.name == "postgresql":
        every = sa.text("returns >= 0")  # true for every job; no other statement names this condition
        op.create_index("jobs_listed", "jobs", ["seq"], postgresql_include=shown, postgresql_where=every)
        op.execute(WORDS)
    else:
        op.create_index("jobs_listed", "jobs", ["seq", *shown], sqlite_where=sa.text("returns >= 0"))
    for name, columns, where in (
        ("jobs_ended", ["state", "ended_at"], "ended_at IS NOT NULL AND returns >= 0"),
        ("jobs_errors", ["seq"], "error <> '' AND returns >= 0"),
    ):
        op.create_index(name, "jobs", columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where))
