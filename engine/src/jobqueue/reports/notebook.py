"""A notebook as a task: check its parameters at the submit, run it, and return its report."""

import importlib.util
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from jobqueue import interrupts
from jobqueue.execution.current_job import current_job
from jobqueue.reports import cells, pdf
from jobqueue.reports.parameters import BadParameter, Parameters
from jobqueue.reports.report import PARTIAL, Report

NEEDED = ("ipykernel", "nbclient", "nbconvert")


class MissingExtra(RuntimeError):
    """The packages that run notebooks are not installed."""


class Notebook:
    """A notebook that runs as a job.

    :param name: the task's name.
    :param path: the notebook's file.
    :param root: the app's folder, from which the notebook imports.
    :param code: whether the report shows the code.
    :param pdf: whether to print it too.
    """

    def __init__(self, name: str, path: Path, root: Path, *, code: bool, pdf: bool) -> None:
        self.name = name
        self.path = path
        self.root = root
        self.code = code
        self.pdf = pdf

    def check(self, *args: Any, **parameters: Any) -> None:
        """Refuse what cannot run, before it is submitted.

        Raises BadParameter for positional arguments, unknown names and values of another type than the default's. Raises
        MissingExtra without the packages that run notebooks, and NoChromium if it makes a PDF and there is no Chromium.
        """
        if any(importlib.util.find_spec(package) is None for package in NEEDED):
            raise MissingExtra('Notebook jobs need the "reports" extra. Add it in pyproject.toml, then run make lock.')
        if self.pdf and pdf.find_chromium() is None:
            raise pdf.NoChromium(pdf.NO_CHROMIUM.format(name=self.name))
        known = Parameters.of(self.name, self.path)
        if args:
            raise BadParameter(f"{self.name} takes its parameters by name. {known}")
        known.check(parameters)

    def run(self, *args: Any, **parameters: Any) -> Report:
        """Run the notebook in a kernel of its own, and return its report.

        A failed attempt keeps the report up to the cell that raised. Raises as `check` does, and CellFailed.
        """
        self.check(*args, **parameters)
        import nbformat

        from jobqueue.reports import kernel
        from jobqueue.reports.html import html_of  # imported before the run: after a timeout there are seconds left

        node = nbformat.read(self.path, as_version=4)
        cells.prepare(node, parameters)
        job = current_job()
        try:
            kernel.execute(node, self.path.parent, [self.root], job)
        except (Exception, interrupts.OutOfTime):  # in an event loop, a timeout is an OutOfTime
            with suppress(Exception):  # the error of the notebook is the one to tell
                cells.cut(node)
                job.with_error[PARTIAL] = self._report(node, html_of)
            raise
        report = self._report(node, html_of)
        if self.pdf:
            job.with_error[PARTIAL] = report
            printed = pdf.print_html(report.page() or "")
            report = Report(report.title, report.notebook, report.html, printed)
        return report

    def _report(self, node: Any, html_of: Any) -> Report:
        import nbformat

        title = cells.title(node) or re.sub(r"[-_]+", " ", self.path.stem)
        return Report(title, nbformat.writes(node), html_of(node, title, self.path.parent, code=self.code))
