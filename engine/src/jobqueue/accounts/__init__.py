"""Accounts for a Dash app: users, log-in, sessions, and the security headers of every response.

`Accounts` puts one rule in front of every request: without a log-in only the log-in page, static files and the health
check are served. A job that is submitted during a user's request belongs to that user.
"""

from jobqueue.accounts.login import Accounts, TooManyJobs, Visitor, visitor

__all__ = ["Accounts", "TooManyJobs", "Visitor", "visitor"]
