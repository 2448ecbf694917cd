"""What every answer tells the browser to refuse: other hosts' scripts, frames, guesses at what a file is, and plain HTTP."""

import base64
import hashlib
from collections.abc import Callable
from html.parser import HTMLParser

from flask import Flask, redirect, request
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.wrappers import Response

from app.settings import settings

YEAR = 365 * 24 * 3600  # seconds
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
# Mantine and Plotly write styles into the page; scripts come from here, or are known by their hash.
POLICY = (
    "default-src 'self'; script-src 'self' {scripts}; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "font-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
KEPT = {"static", "_dash_assets.static", "/_dash-component-suites/<string:package_name>/<path:fingerprinted_path>"}


def harden(server: Flask, page: Callable[[], str]) -> None:
    """Of a server whose pages are all this HTML, as far as scripts go; asked for once, amid the first request."""
    if settings.trusted_proxies:
        hops = settings.trusted_proxies
        server.wsgi_app = ProxyFix(server.wsgi_app, x_for=hops, x_proto=hops)  # type: ignore[method-assign]
    policies: list[str] = []

    @server.before_request
    def by_https() -> Response | None:
        """Whom the host's router tells us to have come by plain HTTP."""
        by_http = request.headers.get("X-Forwarded-Proto") == "http" and request.endpoint != "/health"
        if settings.production and settings.accounts and by_http:  # the session's cookie would not come back
            return redirect(request.url.replace("http://", "https://", 1), 308)
        return None

    @server.after_request
    def add_headers(response: Response) -> Response:
        if not policies:
            policies.append(POLICY.format(scripts=" ".join(hashes(page()))))
        response.headers.update(HEADERS | {"Content-Security-Policy": policies[0]})
        if request.is_secure:
            response.headers["Strict-Transport-Security"] = f"max-age={YEAR}; includeSubDomains"
        if request.endpoint not in KEPT:
            response.headers["Cache-Control"] = "no-store"
        return response


class InlineScripts(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        self._inside = tag == "script" and "src" not in told and told.get("type") != "application/json"

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.found.append(data)

    def handle_endtag(self, tag: str) -> None:
        self._inside = False


def hashes(page: str) -> list[str]:
    """Of a page's inline scripts, as a Content-Security-Policy names them."""
    parser = InlineScripts()
    parser.feed(page)
    parser.close()
    digests = (hashlib.sha256(script.encode()).digest() for script in parser.found)
    return [f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests]
