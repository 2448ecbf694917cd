"""Security headers of every response, and HTTPS behind a host's router."""

import base64
import hashlib
import re
from typing import TYPE_CHECKING

from flask import Flask, redirect, request
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.wrappers import Response

from jobqueue.accounts import addresses
from jobqueue.accounts.addresses import ASSETS
from jobqueue.kernel import NOTEBOOKS, in_kernel
from jobqueue.settings import Settings

if TYPE_CHECKING:
    from dash import Dash  # which the commands of accounts do not load

YEAR = 365 * 24 * 3600  # seconds
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
# Mantine and Plotly write styles into the page. Scripts come from this host, or are known by their hash.
POLICY = (
    "default-src 'self'; script-src 'self' {scripts}; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "font-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors {ancestors}"
)
CACHED = {"static", ASSETS, "_dash-component-suites/<string:package_name>/<path:fingerprinted_path>"}
INLINE_SCRIPT = re.compile(r"<script(?![^>]*\bsrc=)(?![^>]*application/json)[^>]*>(.*?)</script>", re.DOTALL)


def trust_proxies(server: Flask, settings: Settings) -> None:
    """Take the client's address and scheme from the headers of the proxies in front of the app."""
    if settings.trusted_proxies:
        hops = settings.trusted_proxies
        server.wsgi_app = ProxyFix(server.wsgi_app, x_for=hops, x_proto=hops)  # type: ignore[method-assign]


def harden(server: Flask, app: "Dash", settings: Settings) -> None:
    """Add the headers to every response of a server whose pages are all the Dash app's. A report keeps its own policy.

    A notebook may frame the app if its kernel serves it in development. Nothing else may.

    The hashes of the page's scripts are computed at the first response, when all callbacks are known.
    """
    framed = in_kernel() and not settings.production
    headers = {name: value for name, value in HEADERS.items() if not framed or name != "X-Frame-Options"}
    policies: list[str] = []

    @server.before_request
    def redirect_to_https() -> Response | None:
        """Redirect plain-HTTP requests to HTTPS, going by the router's X-Forwarded-Proto."""
        by_http = request.headers.get("X-Forwarded-Proto") == "http" and addresses.endpoint() != "health"
        if settings.production and settings.accounts and by_http:  # browsers send the session's cookie by HTTPS only
            return redirect(f"https://{request.host}{addresses.address(addresses.path())}", 308)
        return None

    @server.after_request
    def add_headers(response: Response) -> Response:
        if not policies:
            scripts = " ".join(hashes(app.index()))
            policies.append(POLICY.format(scripts=scripts, ancestors=NOTEBOOKS if framed else "'none'"))
        own = "Content-Security-Policy" in response.headers  # names who may frame the response, too
        response.headers.update(
            {name: value for name, value in headers.items() if not own or name != "X-Frame-Options"}
        )
        response.headers.setdefault("Content-Security-Policy", policies[0])
        if request.is_secure:
            response.headers["Strict-Transport-Security"] = f"max-age={YEAR}; includeSubDomains"
        if addresses.endpoint() not in CACHED:
            response.headers["Cache-Control"] = "no-store"
        return response


def hashes(page: str) -> list[str]:
    """Return the hashes of a page's inline scripts, as a Content-Security-Policy names them.

    Dash's own `csp_hashes` lacks the scripts that component libraries add by hooks, as `pre_render_color_scheme` does.
    """
    digests = (hashlib.sha256(script.encode()).digest() for script in INLINE_SCRIPT.findall(page))
    return [f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests]
