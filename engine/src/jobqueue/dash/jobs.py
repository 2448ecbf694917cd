"""An app's jobs as its pages use them: access to the jobs that the visitor may see, panels that show them, and uploads."""

from typing import Any

from dash.development.base_component import Component

from jobqueue.dash.access import Access
from jobqueue.dash.job_notices import my_jobs
from jobqueue.dash.panel import JobPanel
from jobqueue.dash.upload import drop_zone


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

    def upload(self, id: str, label: str = "Choose a file", accept: str = "") -> Component:
        """Return a drop zone for one file, which is stored while it is uploaded.

        Example: `jobs.upload("sales", "Sales of a month, as CSV", accept=".csv")` in a layout, and in a callback
        `file = jobs.files.get(data)` with `State("sales", "data")`. The data is None until a file is uploaded.

        :param id: of the component with the property `data`.
        :param label: the text of the zone.
        :param accept: the suffixes that may be chosen, such as ".csv,.txt". By default any.
        """
        return drop_zone(id, label, accept, self.huey.max_file)
