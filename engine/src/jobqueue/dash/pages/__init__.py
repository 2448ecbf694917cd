"""`/jobs` and `/jobs/<id>` in a Dash app: the queue's jobs, schedules, datasets and workers, with buttons to act on them.

Each callback asks Access on the server which jobs the visitor may see. Data from the page has no influence on that.
"""

from collections.abc import Callable

from dash import Dash, hooks

from jobqueue.dash.access import Access, Viewer
from jobqueue.dash.job_notices import JobNotices
from jobqueue.dash.pages.detail import JobPage
from jobqueue.dash.pages.overview import Overview
from jobqueue.dash.upload import Uploads
from jobqueue.huey import DurableHuey

hooks.script([{"namespace": "jobqueue", "relative_package_path": "dash/assets/jobs.js"}])

hooks.stylesheet([{"namespace": "jobqueue", "relative_package_path": "dash/assets/jobs.css"}])


def add(app: Dash, huey: DurableHuey, viewer: Callable[[], Viewer | None] = lambda: None, order: int = 1000) -> None:
    """Add both pages, and the addresses of uploads, to an app that uses pages and has not answered a request yet.

    :param viewer: returns the visitor of the current request: their `name`, whose jobs are theirs, and `admin`, who may
        see and do all. None where nobody has to log in, which permits all.
    :param order: the page's place among others.
    """
    access = Access(huey, viewer)
    Overview(access).register(order)
    JobPage(access).register(app)
    JobNotices(access).register(app)
    Uploads(access).register(app)
