"""Who may log in, and which jobs they may see: their own, or everybody's for an admin. Pages look at jobs through `jobs`."""

from jobqueue.dash import Access

from app import accounts
from app.jobs import huey

jobs = Access(huey, accounts.visitor)

__all__ = ["accounts", "jobs"]
