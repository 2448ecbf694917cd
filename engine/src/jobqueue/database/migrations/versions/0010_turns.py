"""An index of the turns of owners that no other statement takes.

Its condition was that of the index of all turns, and Postgres, where statistics were out of date, took the one for the other:
for a job's place in the queue, which it then read all that waited to find.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

# True of every job. Older code that still runs asks for the former condition, and goes through the turns of all owners
# who wait until its deploy is over.
WHERE = sa.text("state = 'queued' AND created_at > 0")


def upgrade() -> None:
    columns: list[Any] = ["queue", "priority", sa.text("COALESCE(owner, '')"), "turn"]
    op.create_index("jobs_turns_by_owner", "jobs", columns, sqlite_where=WHERE, postgresql_where=WHERE)
    op.drop_index(
        "jobs_turns_of_owner", "jobs"
    )  # last, as nobody can read the table from now on until all is committed
