"""`/jobs` and `/jobs/<id>` in a Dash app: what the queue is doing, and what a person can do about it.

Who may see a job is asked on the server at each callback, by jobqueue/access.py: what a page sends says nothing of that.
"""

from collections.abc import Callable

from dash import Dash, hooks

from jobqueue.dash.access import Access, Viewer
from jobqueue.dash.pages.detail import JobPage
from jobqueue.dash.pages.overview import Overview
from jobqueue.huey import DurableHuey

hooks.script([{"namespace": "jobqueue", "relative_package_path": "dash/assets/jobs.js"}])

hooks.stylesheet([{"namespace": "jobqueue", "relative_package_path": "dash/assets/jobs.css"}])


def add(app: Dash, huey: DurableHuey, viewer: Callable[[], Viewer | None] = lambda: None, order: int = 1000) -> None:
    """Both pages, to an app that uses pages and has not answered yet.

    :param viewer: whoever asks, in each request: with a `name`, whose jobs are theirs, and an `admin`, who sees and may do
        all; None where nobody has to log in, which is as good as an admin.
    :param order: the page's place among others.
    """
    access = Access(huey, viewer)
    Overview(access).register(order)
    JobPage(access).register(app)
