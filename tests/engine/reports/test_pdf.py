"""Printing by the host's Chromium: charts are drawn, nothing else is reached, and no process outlives its print."""

import signal
import socket
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from threading import Thread
from types import FrameType, SimpleNamespace
from typing import Any

import psutil
import pytest
from flask import Flask

from jobqueue.reports import pdf
from jobqueue.reports.page import print_page
from tests.engine.reports.processes import family_of_print, lives
from tests.waiting import wait_until

pytestmark = [pytest.mark.long, pytest.mark.alone]

ENDLESS = "<h1>Endless</h1><script>for (;;) {}</script>"
GONE = 1.0  # seconds after which nothing of a print lives


def test_page_is_printed_after_its_scripts_and_reaches_no_other_server() -> None:
    with socket.create_server(("127.0.0.1", 0)) as elsewhere:
        elsewhere.setblocking(False)
        address = f"http://127.0.0.1:{elsewhere.getsockname()[1]}"
        printed = pdf.print_html(
            f"""<title>before</title><img src="{address}/image"><iframe src="{address}/frame"></iframe><script>
            fetch("{address}/fetch").catch(() => setTimeout(() => {{
                document.title = "drawn " + matchMedia("print").matches;
            }}, 3000));
            </script>"""
        )
        assert printed.startswith(b"%PDF-") and b"/Title (drawn true)" in printed
        with pytest.raises(BlockingIOError):  # nothing has connected
            elsewhere.accept()


def test_page_is_laid_out_as_wide_as_its_charts_were_drawn_whatever_margins_it_has() -> None:
    printed = pdf.print_html(
        f"""<style>
        @page {{ margin: 2in }}
        body {{ margin: 0; container-type: inline-size }}
        a {{ display: none }}
        @container (min-width: {pdf.WIDTH}px) {{ a {{ display: block }} }}
        </style><a href="http://as-wide.example">link</a>"""
    )
    assert b"/URI (http://as-wide.example/)" in printed


def test_served_app_answers_only_the_browser_that_prints() -> None:
    seen: list[int] = []

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{environ['SERVER_PORT']}/")
        except urllib.error.HTTPError as error:
            seen.append(error.code)
        assert environ["REMOTE_ADDR"] == "127.0.0.1"
        start_response("200 OK", [("Content-Type", "text/html")])
        return [b"<title>served</title>"]

    assert b"/Title (served)" in pdf.print_app(app, "/")
    assert seen and set(seen) == {404}


def test_page_with_a_failed_request_is_not_printed() -> None:
    server = Flask(__name__)
    server.add_url_rule("/app/", "page", lambda: '<img src="/tools/app/missing.png">')
    config = SimpleNamespace(requests_pathname_prefix="/tools/app/", routes_pathname_prefix="/app/")
    app = SimpleNamespace(
        server=server, config=config
    )  # as Dash has them; an app of Dash would take other tests' callbacks
    with pytest.raises(pdf.PrintError, match="The page / has an error: /tools/app/missing.png was answered with 404"):
        print_page(app, "/", None)


def test_print_that_takes_too_long_leaves_no_process() -> None:
    with pytest.raises(pdf.PrintError, match="did not print the page within 4 s"), all_gone():
        pdf.print_html(ENDLESS, timeout=4)


def test_interrupted_print_leaves_no_process() -> None:
    class Interrupt(Exception):
        pass

    def interrupt(_: int, __: FrameType | None) -> None:
        raise Interrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 4)
    try:
        with pytest.raises(Interrupt), all_gone():
            pdf.print_html(ENDLESS)
    finally:
        signal.signal(signal.SIGALRM, before)


def test_host_without_chromium_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHROMIUM", "/nowhere/chromium")
    with pytest.raises(pdf.NoChromium, match="Install it, or set CHROMIUM"):
        pdf.print_html("<h1>Hello</h1>")


@contextmanager
def all_gone() -> Iterator[None]:
    """Assert that the block prints, and that no process of its Chromium lives a second later."""
    found: list[psutil.Process] = []
    before = psutil.Process().children(recursive=True)
    watch = Thread(target=lambda: found.extend(family_of_print(psutil.Process(), before)))
    watch.start()
    try:
        yield
    finally:
        watch.join()
        assert found
        wait_until(lambda: not any(map(lives, found)), GONE)
