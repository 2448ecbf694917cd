"""`huey.notebook` and `huey.page_report`: declare a notebook, or the print of a page, as a task."""

import re
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from jobqueue.overrides import LedgerHuey
from jobqueue.reports.notebook import Notebook
from jobqueue.reports.page import PageReport
from jobqueue.reports.report import Report
from jobqueue.tasks.discovery import Discovery


class ReportTasks(LedgerHuey):
    """The entry points of DurableHuey that make reports."""

    _discovery: Discovery

    def notebook(
        self,
        path: str | Path,
        schedule: Callable[[datetime], bool] | None = None,
        *,
        code: bool = False,
        pdf: bool = False,
        **options: Any,
    ) -> Any:
        """Return a task that runs a notebook. The job's result is its `Report`.

        Example::

            weekly = huey.notebook("notebooks/reports/weekly.ipynb", every("monday at 7:00"), timeout=900)
            handle = weekly(region="north")  # a parameter: an assignment in the cell tagged `parameters`

        :param path: the notebook's file, relative to the app's folder.
        :param schedule: the due moments, as for `periodic_task`. None to run when submitted.
        :param code: whether the report shows the notebook's code.
        :param pdf: whether to make a PDF too, with the Chromium of the host.
        :param options: as for `task`. By default the task's name is the file's.

        Raises ValueError if there is no such file, or its name cannot name a task. A submit raises ValueError for an unknown
        parameter, or a value of another type than the default's, and RuntimeError if this host cannot run the task.
        """
        module = sys._getframe(1).f_globals["__name__"]
        root = _app_folder(module)
        file = (root / path).resolve()
        if not file.is_file():
            raise ValueError(f"There is no notebook {path} in {root}. Give its path from there.")
        name = str(options.get("name") or file.stem)
        if not name.isidentifier():
            raise ValueError(f"A task cannot be named {name!r}, after its notebook. Give name=, a Python name.")
        notebook = Notebook(name, file, root, code=code, pdf=pdf)

        def run(**parameters: Any) -> Report:
            return notebook.run(**parameters)

        run.__doc__ = f"Run {path} and return its report."
        return self._declare(run, name, module, notebook.check, schedule, pdf, options)

    def page_report(
        self,
        address: str,
        schedule: Callable[[datetime], bool] | None = None,
        *,
        pdf: bool = True,
        **options: Any,
    ) -> Any:
        """Return a task that prints a page of the app as a PDF, as the job's owner sees it. The job's result is a `Report`.

        Example::

            analysis_pdf = huey.page_report("/analysis?job={job}", pdf=True)
            handle = analysis_pdf(job=job.id)

        A job that nobody owns, such as that of a schedule, prints the page as an admin sees it.

        :param address: the page's path and query, without the app's URL prefix. Names in braces are the task's parameters.
        :param schedule: the due moments, as for `periodic_task`. None to print when submitted.
        :param pdf: always True: a page is printed as a PDF.
        :param options: as for `task`. By default the task's name is the page's with `_pdf`: `analysis_pdf`.

        Raises ValueError for another address, and for a schedule of a page that needs parameters. A submit raises ValueError for
        a missing or unknown parameter, and RuntimeError without Chromium.
        """
        path = address.partition("?")[0]
        name = str(options.get("name") or "_".join([*re.findall(r"\w+", path), "pdf"]))
        page = PageReport(name, address, self._discovery.dash_app)
        if not pdf:
            raise ValueError(f"{name}: a page can only be printed as a PDF. Leave pdf=False out.")
        if not path.startswith("/"):
            raise ValueError(f"The address {address!r} does not begin with a slash. Give a page's, such as /analysis.")
        if schedule is not None and page.parameters:
            raise ValueError(
                f"{name} runs on a schedule, so nobody gives {', '.join(page.parameters)}. Give one address."
            )

        def run(**parameters: Any) -> Report:
            return page.run(**parameters)

        run.__doc__ = f"Print the page {address}."
        return self._declare(run, name, sys._getframe(1).f_globals["__name__"], page.check, schedule, pdf, options)

    def _declare(
        self,
        run: Callable[..., Report],
        name: str,
        module: str,
        check: Callable[..., None],
        schedule: Callable[[datetime], bool] | None,
        pdf: bool,
        options: dict[str, Any],
    ) -> Any:
        """Return a task of the given name and module."""
        run.__name__, run.__qualname__, run.__module__ = name, name, module
        options |= {"check_arguments": staticmethod(check), "keep_result": True, "makes_pdf": pdf}
        decorate = self.task(**options) if schedule is None else self.periodic_task(schedule, **options)
        return decorate(run)


def _app_folder(module: str) -> Path:
    """Return the folder that holds a module's top package. For a module in no package, return the working directory."""
    package, dot, _ = module.partition(".")
    file = getattr(sys.modules.get(package), "__file__", None)
    return Path(file).resolve().parent.parent if dot and file else Path.cwd()
