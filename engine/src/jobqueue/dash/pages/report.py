"""The report of a notebook job: a frame on the job's page, and its files for whoever may see the job.

A report holds what data and strangers put into it. So it is sandboxed: its scripts run, but without cookies and without the
network, and never as a part of the app.
"""

import io
import re

import dash
import dash_mantine_components as dmc
from dash import Dash, html
from dash.development.base_component import Component
from flask import abort, request, send_file
from werkzeug.wrappers import Response

from jobqueue.dash.access import Access
from jobqueue.dash.panel_view import BREAKING
from jobqueue.database.database import Row
from jobqueue.jobs.job import Job, JobNotFound
from jobqueue.kernel import NOTEBOOKS, in_kernel
from jobqueue.ledger.states import State
from jobqueue.reports.report import POLICY, report_in, report_of

SANDBOX = "allow-scripts"  # never allow-same-origin: the scripts would act as the user
MIMETYPES = {"html": "text/html; charset=utf-8", "ipynb": "application/x-ipynb+json", "pdf": "application/pdf"}
FILES = {"pdf": "PDF", "html": "HTML", "ipynb": "Notebook"}  # names of the links
LONGEST = 80  # characters of a file's name


class ReportFiles:
    """The frame with a job's report, and the addresses of its files: `/jobs/<id>/report.html`, `.ipynb` and `.pdf`."""

    def __init__(self, access: Access) -> None:
        self.access = access

    def register(self, app: Dash) -> None:
        """Serve the files below the app's URL prefix."""
        self._rule = f"{app.config.routes_pathname_prefix}jobs/<job_id>/report.<any({', '.join(MIMETYPES)}):kind>"
        app.server.add_url_rule(self._rule, self._rule, self.answer)

    def are_asked_for(self) -> bool:
        """Return whether the request is for one of the files."""
        return request.endpoint == self._rule

    def answer(self, job_id: str, kind: str) -> Response:
        """Return a file, or 404 for a job that the visitor may not see or that has no such file."""
        try:
            job = self.access.get_job(job_id)
        except JobNotFound:
            abort(404)
        report = report_of(self.access.huey.ledger, job.id)
        if report is None or (content := report.file(kind)) is None:
            abort(404)
        name = re.sub(r"[^\w. -]", "", report.title)[:LONGEST].strip(". ") or "report"
        response = send_file(
            io.BytesIO(content),
            MIMETYPES[kind],
            as_attachment=kind != "html" or "download" in request.args,
            download_name=f"{name}.{kind}",
        )
        ancestors = NOTEBOOKS if in_kernel() else "'self'"
        response.headers["Content-Security-Policy"] = f"sandbox {SANDBOX}; {POLICY}; frame-ancestors {ancestors}"
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response

    def section(self, job: Job, result: Row | None) -> Component | None:
        """Return the report of a job with links to its files. Return None for a job without one.

        :param result: the job's row of `Reading.result`.
        """
        report = report_in(result)
        if report is None:
            return None
        has = {"pdf": report.pdf, "html": report.html, "ipynb": report.notebook}  # without the 5 MB of plotly.js
        links = [
            dmc.Anchor(words, href=_address(job, kind) + ("?download" if kind == "html" else ""), refresh=True)
            for kind, words in FILES.items()
            if has[kind] is not None
        ]
        parts: list[Component] = [dmc.Group([dmc.Title("Report", order=3, size="h4"), *links], gap="md")]
        if job.state is not State.SUCCEEDED:
            words = f"This is the report of attempt {job.attempt}, up to the cell that failed."
            parts.append(dmc.Text(words, size="sm", c="dimmed", style=BREAKING))
        if report.html is not None:
            parts.append(
                html.Iframe(src=_address(job, "html"), sandbox=SANDBOX, title=report.title, className="job-report")
            )
        return dmc.Stack(parts, gap="xs")


def _address(job: Job, kind: str) -> str:
    return dash.get_relative_path(f"/jobs/{job.id}/report.{kind}")
