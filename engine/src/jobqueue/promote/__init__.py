"""Promote a function of a notebook to a job of the app, with a test and a page, and take it back.

The command imports this package when it runs, as it needs the development tools: nbclient, IPython and ruff.
"""

from jobqueue.promote.changes import apply, undo
from jobqueue.promote.promotion import Promotion, plan, plan_back
from jobqueue.promote.refusal import Refused

__all__ = ["Promotion", "Refused", "apply", "plan", "plan_back", "undo"]
