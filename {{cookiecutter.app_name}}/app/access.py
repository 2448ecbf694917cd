"""Log-in, and access to the jobs that a visitor may see: their own, or everybody's for an admin. Pages use `jobs`."""

from jobqueue.dash import Access

from app import accounts
from app.jobs import huey

jobs = Access(huey, accounts.visitor)

__all__ = ["accounts", "jobs"]
