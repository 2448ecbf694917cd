"""A report: what a notebook job shows, as the queue stores it and as people open it."""

import importlib.resources
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huey.utils import Error

from jobqueue import codec
from jobqueue.codec.values import Keep, Read
from jobqueue.database.database import Row
from jobqueue.ledger.ledger import Ledger
from jobqueue.ledger.records import ERROR
from jobqueue.ledger.results import value_of

PARTIAL = "report"  # key of a failed attempt's report in the metadata of its error
TAG = b'"$report"'  # of a report in a stored value
# The file may be opened from a disk, without the app's headers. Whatever its outputs hold, it loads nothing from a host.
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; img-src data: blob:; "
    "font-src data:; media-src data: blob:; worker-src blob:; form-action 'none'; base-uri 'none'"
)
ENDINGS = ("ipynb", "html", "pdf")  # of the files of a report
PLOTLY_HERE = "<!-- plotly.js -->"  # stands for plotly.js in the HTML of a report with charts


@dataclass(frozen=True, repr=False)
class Report:
    """The result of a notebook job.

    Example::

        report = weekly(region="north").get(blocking=True)
        report.save(Path("var"), "weekly")

    :param title: the report's title, as plain text.
    :param notebook: the executed notebook, as the text of an .ipynb file. None for a report that no notebook made.
    :param html: one HTML file without plotly.js. `page()` adds it. None for a report that is a PDF only.
    :param pdf: the bytes of its PDF, or None.
    """

    title: str
    notebook: str | None
    html: str | None
    pdf: bytes | None = None

    def __repr__(self) -> str:
        return f"<Report {self.title!r}>"

    def page(self) -> str | None:
        """Return the whole HTML file, which works without a network. Charts bring 5 MB of plotly.js with them."""
        if self.html is None or PLOTLY_HERE not in self.html:
            return self.html
        return self.html.replace(PLOTLY_HERE, f"<script>{_plotly_js()}</script>", 1)

    def file(self, ending: str) -> bytes | None:
        """Return the file with an ending of ENDINGS. Return None if the report has no such file."""
        content = {"ipynb": lambda: self.notebook, "html": self.page, "pdf": lambda: self.pdf}[ending]()
        return content.encode() if isinstance(content, str) else content

    def save(self, folder: Path, name: str) -> list[Path]:
        """Write the notebook, the HTML and the PDF as `name`.ipynb, .html and .pdf. Return the paths of those there are."""
        folder.mkdir(parents=True, exist_ok=True)
        written = []
        for ending in ENDINGS:
            if (content := self.file(ending)) is not None:
                path = folder / f"{name}.{ending}"
                path.write_bytes(content)
                written.append(path)
        return written


def report_of(ledger: Ledger, job_id: str) -> Report | None:
    """Return the report of a job: of its success, or of its last failed attempt up to the cell that raised.

    Return None for a job without a report. The caller checks who may see the job.
    """
    return report_in(ledger.reading.result(job_id))


def report_in(row: Row | None) -> Report | None:
    """Return the report in a row of `Reading.result`, as `report_of` does."""
    if row is None or (row["media_type"] != ERROR and TAG not in (row["body"] or b"")):
        return None  # other results may be large, and slow to decode
    value = value_of(row)
    if isinstance(value, Error):
        value = value.metadata.get(PARTIAL)
    return value if isinstance(value, Report) else None


def _plotly_js() -> str:
    """Return plotly.js, as the plotly package of this environment has it."""
    return (importlib.resources.files("plotly") / "package_data" / "plotly.min.js").read_text(encoding="utf-8")


def _write(report: Report, keep: Keep) -> list[Any]:
    return [report.title, keep(_packed(report.notebook)), keep(_packed(report.html)), keep(report.pdf)]


def _read(data: list[Any], read: Read) -> Report:
    title, notebook, page, pdf = (read(part) for part in data)
    return Report(title, _unpacked(notebook), _unpacked(page), pdf)


def _packed(text: str | None) -> bytes | None:
    return None if text is None else zlib.compress(text.encode())


def _unpacked(text: bytes | None) -> str | None:
    return None if text is None else zlib.decompress(text).decode()


codec.register(Report, "report", _write, _read)  # see TAG
