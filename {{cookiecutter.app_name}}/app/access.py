"""The accounts of the app, and the jobs that a user may see: their own, or everyone's for an admin.

Pages read jobs through `jobs`, never through the queue itself.
"""

from jobqueue.accounts import Accounts
from jobqueue.dash import Access

from app.jobs import huey
from app.settings import project, settings

accounts = Accounts(huey, settings, title=project.title)
jobs = Access(huey, accounts.visitor)
