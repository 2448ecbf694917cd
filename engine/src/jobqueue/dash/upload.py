"""Uploads: a drop zone that sends a file in pieces, and the addresses that store them.

A piece is sent with its offset, and any web process takes it, because they meet in the database. `assets/upload.js` sends a piece
again that failed, and asks first where to go on.

A page of another site cannot upload in a user's name. Accounts refuse requests of other origins, and each request here has a header
or a method that browsers ask this server about first, which it never allows.
"""

import re
from collections.abc import Callable
from typing import Any

import dash
from dash import Dash, dcc, hooks, html
from dash.development.base_component import Component
from flask import jsonify, request
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.wrappers import Response

from jobqueue.dash.access import Access
from jobqueue.dash.formatting import size
from jobqueue.files.pieces import PIECE
from jobqueue.files.refusals import FileMissing, FileRefused, FileTooLarge, WrongOffset

ADDRESS = "/_files"
OFFSET = "Upload-Offset"  # the header with the place of a piece in its file
STATUS = {FileMissing: 404, WrongOffset: 409, FileTooLarge: 413}

hooks.script([{"namespace": "jobqueue", "relative_package_path": "dash/assets/upload.js"}])
hooks.stylesheet([{"namespace": "jobqueue", "relative_package_path": "dash/assets/upload.css"}])


class Uploads:
    """The addresses of uploads: `POST /_files` begins one, and `/_files/<id>` takes its pieces (PATCH).

    GET there tells how many bytes are stored, and DELETE cancels. Every answer is JSON. A refusal has the sentence for the user as
    `error`.
    """

    def __init__(self, access: Access) -> None:
        self.access = access

    def register(self, app: Dash) -> None:
        """Serve the addresses below the app's URL prefix."""
        at = app.config.routes_pathname_prefix.rstrip("/") + ADDRESS
        app.server.add_url_rule(at, at, self._begin, methods=["POST"])
        for method, view in {"GET": self._received, "PATCH": self._append, "DELETE": self._discard}.items():
            one = f"{at}/<file_id>"
            app.server.add_url_rule(one, f"{method} {one}", view, methods=[method])

    def _begin(self) -> tuple[Response, int]:
        match request.get_json(silent=True):
            case {"name": str(name), "size": int(count)}:
                return _answer(lambda: {"id": self.access.files.begin(name, count), "received": 0})
        return jsonify(error='Send {"name": text, "size": bytes} as JSON.'), 400

    def _received(self, file_id: str) -> tuple[Response, int]:
        return _answer(lambda: {"received": self.access.files.received(file_id)})

    def _append(self, file_id: str) -> tuple[Response, int]:
        offset = request.headers.get(OFFSET, "")
        if not re.fullmatch("[0-9]{1,15}", offset):
            return jsonify(error=f"Send the piece's offset in the header {OFFSET}."), 400
        request.max_content_length = PIECE
        try:
            piece = request.get_data(cache=False)
        except RequestEntityTooLarge:
            return jsonify(error=f"A piece may have at most {PIECE:,} bytes."), 413
        return _answer(lambda: {"received": self.access.files.append(file_id, int(offset), piece)})

    def _discard(self, file_id: str) -> tuple[Response, int]:
        return _answer(lambda: {"deleted": self.access.files.discard(file_id)})


def _answer(act: Callable[[], dict[str, Any]]) -> tuple[Response, int]:
    """Return what an act returns as JSON, or the sentence with which it is refused."""
    try:
        return jsonify(act()), 200
    except FileRefused as error:
        received = {"received": error.received} if isinstance(error, WrongOffset) else {}
        return jsonify(error=str(error), **received), STATUS.get(type(error), 400)


def drop_zone(id: str, label: str, accept: str, limit: int) -> Component:
    """Return a drop zone whose `dcc.Store` gets the id of the uploaded file.

    :param id: of the store.
    :param label: the text of the zone.
    :param accept: the suffixes that may be chosen, such as ".csv,.txt". "" for any.
    :param limit: the most bytes of a file.
    """

    def part(name: str) -> dict[str, str]:
        return {"upload": id, "part": name}

    hint = f"Drop it here, or press to choose it. Up to {size(limit)}."
    data: dict[str, Any] = {
        "data-upload": id,
        "data-accept": accept,
        "data-limit": str(limit),
        "data-piece": str(PIECE),
        "data-address": dash.get_relative_path(ADDRESS),
    }
    zone = html.Button(
        [html.Span(label, className="upload-label"), html.Span(hint, className="upload-hint")],
        id=part("zone"),
        type="button",
        className="upload-zone",
    )
    name: dict[str, Any] = {"aria-label": "Upload"}
    running = html.Div(
        [
            html.Progress(id=part("progress"), value="0", max="1", **name),
            html.Span(id=part("sent"), className="upload-sent"),
            html.Button("Cancel", id=part("cancel"), type="button", className="upload-cancel"),
        ],
        id=part("running"),
        className="upload-running",
        hidden=True,
    )
    said = html.Div(id=part("said"), className="upload-said", role="status")
    trouble = html.Div(id=part("trouble"), className="upload-trouble", role="alert")
    return html.Div([zone, running, said, trouble, dcc.Store(id=id)], className="upload", **data)
