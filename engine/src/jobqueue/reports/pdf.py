"""PDFs, printed by the host's Chromium. It draws the charts, and reaches nothing but the server that it prints from.

Chromium is driven by its DevTools protocol over a pipe, so no other process of the host sees the address and its cookie. Virtual
time runs only while no request is open. The page is printed after SETTLED virtual seconds, which take a moment.
"""

import base64
import json
import os
import secrets
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from socketserver import ThreadingMixIn
from typing import IO, Any
from urllib.parse import urlsplit
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from jobqueue import interrupts
from jobqueue.guard import Guard

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
HOST = "127.0.0.1"
COOKIE = "print"
TIMEOUT = 120.0  # seconds
SETTLED = 5.0  # virtual seconds
WIDTH = 1040  # CSS pixels of the page's content, for charts and tables beside each other
PAPER = (8.27, 11.69)  # inches, width and height: A4
MARGIN = 0.4  # inches
INCH = 96  # CSS pixels

# Nobody can press buttons on paper, and a fixed header would be on each page. A chart is not split. Charts are as wide as WIDTH,
# so a page's own margins would cut them.
STYLE = f"""
@page {{ margin: {MARGIN}in }}
.modebar-container, .mantine-AppShell-header, .mantine-Button-root {{ display: none !important }}
.mantine-AppShell-main {{ padding-top: 0 !important }}
.js-plotly-plot, img, svg, tr {{ break-inside: avoid }}
"""
ADD_STYLE = f"""{{
    const style = new CSSStyleSheet();
    style.replaceSync({json.dumps(STYLE)});
    document.adoptedStyleSheets.push(style);
}}"""
NO_CHROMIUM = "{name} makes a PDF, which needs Chromium. Install it, set CHROMIUM, or remove pdf=True."

# The pipe of the protocol is file 3 and 4. Chromium logs to the standard error stream.
PIPED = ["sh", "-c", 'exec "$0" "$@" 3<&0 4>&1 </dev/null >&2']
FLAGS = [
    "--headless",
    "--remote-debugging-pipe",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-breakpad",
    "--disable-component-update",
    "--disable-crash-reporter",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-gpu",
    "--disable-sync",
    "--force-prefers-reduced-motion",
    "--hide-scrollbars",
    f"--window-size={WIDTH},1400",
]

WsgiApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class NoChromium(RuntimeError):
    """This host has no Chromium, so nothing can be printed."""


class PrintError(RuntimeError):
    """Chromium did not print the page."""


def find_chromium() -> str | None:
    """Return the path of the host's Chromium: CHROMIUM, or the first of PROGRAMS on PATH. Return None if there is none."""
    given = os.environ.get("CHROMIUM")
    return shutil.which(given) if given else next(filter(None, map(shutil.which, PROGRAMS)), None)


def print_html(html: str, timeout: float = TIMEOUT) -> bytes:
    """Return a page as a PDF. Its scripts run, and can reach neither the network nor files.

    :param html: the page, with everything that it needs.

    Raises NoChromium, PrintError.
    """

    def page(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        found = environ["PATH_INFO"] == "/"
        start_response("200 OK" if found else "404 Not Found", [("Content-Type", "text/html; charset=utf-8")])
        return [html.encode(errors="replace") if found else b""]

    return print_app(page, "/", timeout)


def print_app(app: WsgiApp, path: str, timeout: float = TIMEOUT) -> bytes:
    """Return a page of a WSGI app as a PDF, as it is when everything is loaded and its charts are drawn.

    The app is served on 127.0.0.1 meanwhile, to this Chromium only: each request needs a random cookie.

    :param path: the page's address, with its query.
    :param timeout: seconds.

    Raises NoChromium, PrintError.
    """
    key = secrets.token_urlsafe(32)
    with _serving(app, key) as address:
        return print_address(address + path, timeout, cookie=key)


def print_address(address: str, timeout: float = TIMEOUT, *, cookie: str | None = None) -> bytes:
    """Return the page at an http address as a PDF. Requests to any other host or port fail.

    :param cookie: the value of the cookie COOKIE, if the server needs it.

    Raises NoChromium, PrintError.
    """
    with _browser(urlsplit(address).netloc, timeout) as page:
        if cookie is not None:
            page.call("Network.setCookie", url=address, name=COOKIE, value=cookie, httpOnly=True, sameSite="Strict")
        page.call("Emulation.setEmulatedMedia", media="print")  # charts are drawn as wide as they are printed
        error = page.call("Page.navigate", url=address).get("errorText")
        if error:
            raise PrintError(f"Chromium cannot open the page: {error}.")
        settled = {"policy": "pauseIfNetworkFetchesPending", "budget": 1000 * SETTLED}
        page.call("Emulation.setVirtualTimePolicy", **settled, maxVirtualTimeTaskStarvationCount=9999)
        page.wait_for("Emulation.virtualTimeBudgetExpired")
        page.call("Runtime.evaluate", expression=ADD_STYLE)
        width, height = PAPER
        scale = (width - 2 * MARGIN) * INCH / WIDTH
        printed = page.call("Page.printToPDF", printBackground=True, paperWidth=width, paperHeight=height, scale=scale)
        return base64.b64decode(printed["data"])


@contextmanager
def _serving(app: WsgiApp, key: str) -> Iterator[str]:
    """Serve a WSGI app to requests that have the cookie, and yield its address."""

    class Server(ThreadingMixIn, WSGIServer):
        daemon_threads = True

    class Handler(WSGIRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            """Log no requests: they would be in the job's log."""

    def with_cookie(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        cookies = environ.get("HTTP_COOKIE", "").split("; ")
        if any(secrets.compare_digest(f"{COOKIE}={key}".encode(), cookie.encode("latin-1")) for cookie in cookies):
            return app(environ, start_response)
        start_response("404 Not Found", [])
        return []

    with make_server(HOST, 0, with_cookie, Server, Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        try:
            yield f"http://{HOST}:{server.server_port}"
        finally:
            server.shutdown()


@contextmanager
def _browser(served: str, timeout: float) -> Iterator["_Page"]:
    """Start Chromium and yield an empty page of it. At the end kill all of its processes.

    :param served: host and port that it may reach.
    """
    chromium = find_chromium()
    if chromium is None:
        raise NoChromium("There is no Chromium on this host. Install it, or set CHROMIUM to its path.")
    with ExitStack() as stack:
        profile = stack.enter_context(tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True))
        errors = stack.enter_context(tempfile.TemporaryFile(dir=profile))
        flags = [
            *FLAGS,
            f"--user-data-dir={profile}",
            "--proxy-server=http://127.0.0.1:1",  # nothing listens there
            f"--proxy-bypass-list=<-loopback>;{served}",
            *(["--no-sandbox"] if os.geteuid() == 0 else []),  # Chromium refuses to start as root without
        ]
        with interrupts.deferred():
            guard = Guard()
            process = subprocess.Popen(
                [*guard.command, *PIPED, chromium, *flags],
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                **guard.options,
            )
            stack.enter_context(process)  # closes the pipes
            stack.callback(guard.kill, process)
        late = threading.Event()

        def stop() -> None:
            late.set()
            guard.kill(process)

        alarm = threading.Timer(timeout, stop)
        alarm.daemon = True
        alarm.start()
        stack.callback(alarm.cancel)
        try:
            page = _Page(process)
            page.open()
            yield page
        except EOFError:
            raise PrintError(_why(late, timeout, errors)) from None


def _why(late: threading.Event, timeout: float, errors: IO[bytes]) -> str:
    if late.is_set():
        return f"Chromium did not print the page within {timeout:g} s."
    errors.seek(0)
    return f"Chromium ended before it printed: {errors.read()[-1000:].decode(errors='replace').strip()}"


class _Page:
    """A page of a Chromium, driven over the pipe. Raises EOFError if Chromium ends."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        assert process.stdin is not None and process.stdout is not None
        self._commands = process.stdin
        self._answers = process.stdout
        self._received = b""
        self._sent = 0
        self._session: dict[str, str] = {}

    def open(self) -> None:
        """Open an empty page."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = {"sessionId": self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]}
        self.call("Page.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Return a command's result. Raises PrintError if Chromium refuses it."""
        self._sent += 1
        command = {"id": self._sent, "method": method, "params": parameters, **self._session}
        with suppress(BrokenPipeError):  # the read below finds the end
            self._commands.write(json.dumps(command).encode() + b"\0")  # short enough for a pipe
        answer = self._receive(lambda message: message.get("id") == self._sent)
        if "error" in answer:
            raise PrintError(f"Chromium refuses {method}: {answer['error']['message']}")
        result: dict[str, Any] = answer["result"]
        return result

    def wait_for(self, event: str) -> None:
        """Return when Chromium reports an event."""
        self._receive(lambda message: message.get("method") == event)

    def _receive(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        while True:
            while b"\0" not in self._received:
                part = os.read(self._answers.fileno(), 1 << 20)
                if not part:
                    raise EOFError
                self._received += part
            raw, _, self._received = self._received.partition(b"\0")
            message: dict[str, Any] = json.loads(raw)
            if wanted(message):
                return message
