"""An index of owners' turns with a condition of its own.

It had the same condition as the index of all turns. With outdated statistics Postgres used the wrong one to find a job's place in
the queue, and read every waiting job.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

# True for every job. Older code names the former condition, so until the deploy is over it reads the turns of all waiting owners.
WHERE = sa.text("state = 'queued' AND created_at > 0")


def upgrade() -> None:
    columns: list[Any] = ["queue", "priority", sa.text("COALESCE(owner, '')"), "turn"]
    op.create_index("jobs_turns_by_owner", "jobs", columns, sqlite_where=WHERE, postgresql_where=WHERE)
    op.drop_index("jobs_turns_of_owner", "jobs")  # last, because dropping an index locks the table until the commit
