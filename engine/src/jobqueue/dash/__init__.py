"""The Dash face: background callbacks, job panels, the jobs page and errors in words.

`HueyManager` runs background callbacks as jobs. `JobPanel` shows a job on any page. `Jobs` makes panels for the jobs that a
visitor may see, and drop zones for files. `by_type` shows a result. `pages.add` adds `/jobs` to an app. `Errors` says in words why
a callback or page failed.
"""

from dash import hooks

from jobqueue.dash import (
    pages,
    panel_refresh,  # noqa: F401  # registers the callbacks of panels
)
from jobqueue.dash.access import Access
from jobqueue.dash.background import found_after_reload
from jobqueue.dash.errors import Errors
from jobqueue.dash.jobs import Jobs
from jobqueue.dash.manager import HueyManager
from jobqueue.dash.panel import JobPanel
from jobqueue.dash.result_view import by_type

__all__ = ["Access", "Errors", "HueyManager", "JobPanel", "Jobs", "by_type", "found_after_reload", "pages"]

# Repeats requests of background callbacks and panels while the web process is away.
hooks.script([{"namespace": "jobqueue", "relative_package_path": "dash/assets/reconnect.js"}])
