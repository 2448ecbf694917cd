"""Serve a WSGI app with waitress: one thread reads and writes all connections, and others work on whole requests.

So a client that sends a byte a second occupies no thread. A stop has three steps. At SIGTERM `/readyz` turns 503, and the server
goes on for some seconds, until the host's router sends no more. Then it closes the port, and finishes what it has. A second
SIGTERM changes nothing. SIGINT ends the process at once.
"""

import logging
import os
import signal
import socket
import time
from typing import Any

from waitress import wasyncore
from waitress.server import TcpWSGIServer, create_server

from jobqueue.web.connections import IDLE, MAX_BODY, Connection
from jobqueue.web.stopping import stopping

THREADS = 16  # that work on requests
CONNECTIONS = 1000  # most that are open at once, with slow and idle ones
FINISH = 20.0  # seconds for the requests that have arrived when the port is closed
LOOK = 1.0  # seconds between two looks at the clock and at the parent

logger = logging.getLogger("jobqueue.web")


def serve(app: Any, listening: socket.socket, *, linger_s: float, parent: int | None = None) -> None:
    """Serve an app until SIGTERM and the end of the stop.

    :param listening: the socket of the port.
    :param linger_s: seconds after SIGTERM for which the server accepts connections.
    :param parent: the process without which this one ends. None for any.
    """
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # it warns at each request that waits for a thread
    server = create_server(
        app,
        sockets=[listening],
        threads=THREADS,
        connection_limit=CONNECTIONS,
        max_request_body_size=MAX_BODY,
        clear_untrusted_proxy_headers=False,  # Werkzeug's ProxyFix judges them
        asyncore_use_poll=True,
        ident=None,
    )
    server.channel_class = Connection

    def stop(*_: object) -> None:
        stopping.is_set = True
        server.pull_trigger()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    logger.info("Serving on %s, port %s.", server.effective_host, server.effective_port)
    while not stopping.is_set:
        _turn(server, LOOK, parent)
    logger.info("Stopping: accepting requests for %g s more.", linger_s)
    _turn_until(time.monotonic() + linger_s, server, parent)
    _close_port(server)
    until = time.monotonic() + FINISH
    while server.active_channels and time.monotonic() < until:
        for connection in server.active_channels.values():
            connection.will_close = connection.will_close or connection.is_idle()
        _turn(server, IDLE / 10, parent)
    unfinished = sum(bool(connection.requests) for connection in server.active_channels.values())
    logger.info("Stopped, with %d unfinished request(s).", unfinished)


def _turn_until(end: float, server: TcpWSGIServer, parent: int | None) -> None:
    while (left := end - time.monotonic()) > 0:
        _turn(server, min(LOOK, left), parent)


def _turn(server: TcpWSGIServer, wait_s: float, parent: int | None) -> None:
    """Read and write what is ready, or wait. End the process if its parent has died."""
    if parent is not None and os.getppid() != parent:
        os._exit(1)
    wasyncore.loop(timeout=wait_s, use_poll=True, map=server._map, count=1)


def _close_port(server: TcpWSGIServer) -> None:
    """Take the connections that the system has accepted, and close the port. The threads still need the server's trigger."""
    known = -1
    while known != len(server.active_channels):
        known = len(server.active_channels)
        server.handle_accept()
    wasyncore.dispatcher.close(server)
