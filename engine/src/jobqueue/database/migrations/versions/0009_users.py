"""Accounts: users, sessions, and recent failed log-ins.

They are part of this history because a database has a single one, and the first process to use the database applies it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.create_table(
        "users",
        sa.Column("name", sa.Text, primary_key=True),  # the owner of a user's jobs
        sa.Column("password", sa.Text, nullable=False),  # a hash with its algorithm and salt
        sa.Column("admin", sa.Boolean, nullable=False),
        sa.Column("first_until", sa.Float),  # when a generated first password expires; it works once
        sa.Column("created_at", sa.Float, nullable=False),
    )
    op.create_table(
        "sessions",
        sa.Column("id", sa.Text, primary_key=True),  # a hash of the session token in the cookie
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("began_at", sa.Float, nullable=False),
        sa.Column("seen_at", sa.Float, nullable=False),
    )
    op.create_index("sessions_of_user", "sessions", ["name"])
    op.create_index("sessions_seen", "sessions", ["seen_at"])
    op.create_table(
        "failed_logins",
        sa.Column("key", sa.Text, primary_key=True),  # a user's name, or a client's address
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("last_at", sa.Float, nullable=False),
    )
    op.create_index("failed_logins_last", "failed_logins", ["last_at"])
