"""The Dash face: background callbacks, job panels and the jobs page.

`HueyManager` runs background callbacks as jobs. `JobPanel` shows one job on any page. `pages.add` adds `/jobs` to an app.
"""

from jobqueue.dash import pages
from jobqueue.dash.manager import HueyManager
from jobqueue.dash.panel import JobPanel

__all__ = ["HueyManager", "JobPanel", "pages"]
