"""Addresses and endpoints of the Dash app that a server serves, whatever URL prefix it has.

Browsers see `requests_pathname_prefix` before each path, and the server `routes_pathname_prefix`. A proxy may strip the difference.
"""

from typing import TYPE_CHECKING

from flask import Flask, current_app, request

if TYPE_CHECKING:
    from dash import Dash  # which the commands of accounts do not load

ASSETS = "dash_assets.static"  # Dash's endpoint for assets, after the prefix


def serve(server: Flask, app: "Dash") -> None:
    """Name the Dash app of a server."""
    server.extensions["dash"] = app


def address(path: str) -> str:
    """Return the address of a path as browsers see it: `/explorer/hello` for `/hello`."""
    return _app().get_relative_path(path)


def path() -> str:
    """Return the path and query of the request, without a prefix: `/hello?job=7`. It begins with one slash."""
    received = request.url.removeprefix(request.root_url.rstrip("/"))
    prefix = _app().config.routes_pathname_prefix.rstrip("/")  # people leave the last slash out
    return "/" + received.removeprefix(prefix).lstrip("/")


def endpoint() -> str:
    """Return the endpoint of the request. Dash names its endpoints after their addresses; the prefix is left out.

    The app's root is "", and so is an address without an endpoint.
    """
    name = request.endpoint or ""
    return ASSETS if name.endswith(ASSETS) else name.removeprefix(_app().config.routes_pathname_prefix)


def _app() -> "Dash":
    app: Dash = current_app.extensions["dash"]
    return app
