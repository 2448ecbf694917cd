"""Connections and requests of waitress, with what it lacks: bounded chunk lines, and a refusal that clients can read."""

import time
from typing import Any

from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.receiver import ChunkedReceiver
from waitress.utilities import BadRequest, RequestEntityTooLarge

from jobqueue.web.stopping import stopping

IDLE = 1.0  # seconds without a request after which a stopping server closes a connection
MAX_BODY = 200_000_000  # bytes of a request: 64 MB of a callback's arguments take up to twice that as JSON
MAX_REFUSED = 5 * MAX_BODY  # bytes of a body above the limit that are read and thrown away
MAX_LINE = 64_000  # bytes of the line before a chunk, and of the lines after the last one


class Request(HTTPRequestParser):
    """A request that arrives.

    A body above the limit is thrown away before the answer: most clients read no answer while they send.
    """

    error: Any
    expect_continue: bool
    _unwanted = 0  # bytes of such a body that are still to come

    def received(self, data: bytes) -> int:
        """Take the next bytes of the connection. Return how many belong to this request."""
        if self._unwanted:
            taken = min(len(data), self._unwanted)
            self._unwanted -= taken
            self.completed = not self._unwanted
            return taken
        taken = int(super().received(data))
        if isinstance(self.error, RequestEntityTooLarge):
            self.error.body = f"A request may have at most {MAX_BODY // 10**6} MB."
            if not self.expect_continue and self.content_length <= MAX_REFUSED:
                self._unwanted = self.content_length
                self.completed = not self._unwanted  # true for chunks, which do not say how many there are
            self.expect_continue = False  # such a client waits for the answer
        elif isinstance(self.body_rcv, ChunkedReceiver):
            if len(self.body_rcv.control_line) + len(self.body_rcv.trailer) > MAX_LINE:  # each read would copy it
                self.error = BadRequest("The lines between the chunks are too long.")
                self.completed = True
        return taken


class Connection(HTTPChannel):
    """A client's connection. Its responses ask the client to open another one when the server is stopping."""

    parser_class = Request

    def service(self) -> None:
        """Answer a request, in a thread of its own."""
        if stopping.is_set:
            self.requests[0].headers["CONNECTION"] = "close"
        super().service()

    def is_idle(self) -> bool:
        """Return whether no part of a request or of a response is on its way."""
        busy = self.requests or self.request is not None or self.total_outbufs_len
        return not busy and time.time() > self.last_activity + IDLE
