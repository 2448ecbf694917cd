"""The files of results, for visitors who may see the job. Each file is made when it is asked for, and kept nowhere."""

import html
import re
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import IO, Any, cast

import dash
from flask import abort, request, send_file
from werkzeug.wrappers import Response

from jobqueue import codec
from jobqueue.dash.access import Access
from jobqueue.dash.background import is_callback
from jobqueue.dash.downloads.formats import Format, Part, parts_of
from jobqueue.dash.downloads.tables import Unfit
from jobqueue.database.database import Row
from jobqueue.files import File, FileRefused
from jobqueue.files.file import readable
from jobqueue.jobs.job import Job
from jobqueue.ledger.records import ERROR
from jobqueue.ledger.results import value_of
from jobqueue.ledger.states import State
from jobqueue.plain_page import plain_page

LARGE = 5_000_000  # bytes of a stored result; a web process makes one file of such a result at a time
IN_MEMORY = 1_000_000  # bytes; a longer file is on the disk while it is sent
LONGEST = 60  # characters that the task and the part have in the name of a file
# Characters that are not allowed in the name of a file on some system, or turn the text that follows around.
NOT_IN_NAMES = re.compile(r'[\x00-\x1f\x7f-\x9f"*/:<>?\\|\u200e\u200f\u202a-\u202e\u2066-\u2069]+')
HEADERS = {
    "Cache-Control": "private, no-store",
    "Content-Security-Policy": "sandbox; default-src 'none'",  # of a file that a browser shows nevertheless
    "X-Content-Type-Options": "nosniff",
}
NOTHING = codec.encode(None)[1]  # as None is stored
BUSY = "Another large file is being made. Try again in a minute."
SENTENCE = "<p>{{ sentence }}</p>"

_large = threading.Lock()


class Busy(Exception):
    """This web process makes another large file."""


class Downloads:
    """The files of jobs' results.

    :param offered: returns the value to offer in place of a result, such as a dict of tables. By default the result itself.
    """

    def __init__(self, access: Access, offered: Callable[[Any], Any] | None = None) -> None:
        self.access = access
        self.offered = offered or (lambda result: result)

    def parts(self, job: Job) -> list[Part]:
        """Return the parts that a job's result offers, of a job that the visitor may see."""
        row = self._row(job)
        return [] if row is None else self._parts(row)

    def answer(self, job: Job) -> Response:
        """Return the file that the request's query names, such as `?part=0&kind=csv`, or answer 404.

        Answer with a sentence for the user if the format cannot hold the value, or if the web process is busy.

        :param job: one that the visitor may see.
        """
        row = self._row(job)
        if row is None:
            abort(404)
        try:
            with _turn(len(row["body"])):
                part, kind = _asked_for(self._parts(row))
                del row  # the stored result may take as much memory as the value
                if why_not := kind.why_not(part.value):
                    raise Unfit(why_not)
                return self._send(job, part, kind)
        except (Unfit, FileRefused) as error:
            return _say(str(error), 422)
        except Busy:
            return _say(BUSY, 503)

    def _parts(self, row: Row) -> list[Part]:
        with readable(self.access.huey.ledger.files.read):
            return parts_of(self.offered(value_of(row)))

    def _row(self, job: Job) -> Row | None:
        row = self.access.huey.ledger.reading.result(job.id)
        return row if is_offered(job, row) else None

    def _send(self, job: Job, part: Part, kind: Format) -> Response:
        with ExitStack() as stack:
            file = cast(IO[bytes], stack.enter_context(tempfile.SpooledTemporaryFile(IN_MEMORY)))
            kind.write(part.value, file, part.name or job.name)
            file.seek(0)
            response = send_file(file, kind.mimetype, as_attachment=True, download_name=self.name(job, part, kind))
            response.headers.update(HEADERS)
            stack.pop_all()  # the response closes the file
            return response

    def name(self, job: Job, part: Part, kind: Format) -> str:
        """Return the name of a file: "analyse-weights-2026-11-29-1403.csv", in the queue's time zone. A stored file keeps its own."""
        if isinstance(part.value, File):
            return NOT_IN_NAMES.sub(" ", part.value.name)
        words = (" ".join(NOT_IN_NAMES.sub(" ", text).split()) for text in (job.name, part.name))
        parts = [text.strip(". ")[:LONGEST].rstrip() for text in words]
        ended = f"{job.ended_at.astimezone(self.access.huey.timezone):%Y-%m-%d-%H%M}" if job.ended_at else ""
        return "-".join(filter(None, [*parts, ended])) + f".{kind.ending}"


def is_offered(job: Job, result: Row | None) -> bool:
    """Return whether a job has succeeded and returned something. A background callback returns nothing for people.

    :param result: the job's row of `Reading.result`.
    """
    if job.state is not State.SUCCEEDED or is_callback(job.task):
        return False
    if result is None or result["media_type"] in (None, ERROR):
        return False
    return bytes(result["body"]) != NOTHING


def _asked_for(parts: list[Part]) -> tuple[Part, Format]:
    """Return the part and the format that the request names, or answer 404."""
    number, ending = request.args.get("part", ""), request.args.get("kind")
    part = parts[int(number)] if re.fullmatch(r"\d{1,6}", number, re.ASCII) and int(number) < len(parts) else None
    kind = next((kind for kind in part.formats if kind.ending == ending), None) if part else None
    if part is None or kind is None:
        abort(404)
    return part, kind


@contextmanager
def _turn(size: int) -> Iterator[None]:
    """Hold the turn to make a large file. Raise Busy if another thread has it."""
    if size <= LARGE:
        yield
    elif _large.acquire(blocking=False):
        try:
            yield
        finally:
            _large.release()
    else:
        raise Busy


def _say(sentence: str, status: int) -> Response:
    """Return a page with a sentence for the user in place of a file."""
    title = html.unescape(dash.get_app().title)
    page = plain_page(
        "There is no file", SENTENCE, title, root=dash.get_relative_path("/"), home=True, sentence=sentence
    )
    return Response(page, status, mimetype="text/html")
