"""Accounts: who may log in, who is logged in, and which log-ins failed of late. The app's own (app/users.py).

They are here because a database has one history of its schema, and whoever comes first brings it to head.
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.create_table(
        "users",
        sa.Column("name", sa.Text, primary_key=True),  # the owner of a user's jobs
        sa.Column("password", sa.Text, nullable=False),  # hashed, with how and its salt
        sa.Column("admin", sa.Boolean, nullable=False),
        sa.Column("first_until", sa.Float),  # of a password that was made for the user: it is good until then, and once
        sa.Column("created_at", sa.Float, nullable=False),
    )
    op.create_table(
        "sessions",
        sa.Column("id", sa.Text, primary_key=True),  # a hash of what the cookie says
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("began_at", sa.Float, nullable=False),
        sa.Column("seen_at", sa.Float, nullable=False),
    )
    op.create_index("sessions_of_user", "sessions", ["name"])
    op.create_index("sessions_seen", "sessions", ["seen_at"])
    op.create_table(
        "failed_logins",
        sa.Column("key", sa.Text, primary_key=True),  # a user's name, or where the browser is
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("last_at", sa.Float, nullable=False),
    )
    op.create_index("failed_logins_last", "failed_logins", ["last_at"])
