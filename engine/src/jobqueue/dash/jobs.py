"""An app's jobs as its pages use them: access to the jobs that the visitor may see, and panels that show them."""

from typing import Any

from dash.development.base_component import Component

from jobqueue.dash.access import Access
from jobqueue.dash.job_notices import my_jobs
from jobqueue.dash.panel import JobPanel


class Jobs(Access):
    """Access to one queue, and panels for its jobs.

    Example, in the module that all pages import::

        jobs = Jobs(huey, accounts.visitor)

    and in a page::

        panel = jobs.panel(__name__, task=greet)
    """

    def panel(self, name: str, **options: Any) -> JobPanel:
        """Return a panel for jobs that the visitor may see.

        :param name: the page's `__name__`.
        :param options: as for JobPanel: task, show, title.
        """
        return JobPanel(self.huey, name, access=self, **options)

    def my_jobs(self) -> Component:
        """Return the entry "My jobs" of a header, and tell visitors when their jobs end, on whatever page is open.

        The layout needs a `dmc.NotificationContainer(id=NOTICES)`, and the app the jobs page.
        """
        return my_jobs(self)
