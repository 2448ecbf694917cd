"""Known browsers: those in which a user has logged in. The throttle tells them from an attacker's.

The signed cookie is no log-in. It holds the user's name and a random id, under which failures in this browser are counted.
The protocol is OWASP's: https://owasp.org/www-community/Slow_Down_Online_Guessing_Attacks_with_Device_Cookies
"""

import secrets
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from flask import current_app, request
from itsdangerous import BadData, URLSafeTimedSerializer
from werkzeug.wrappers import Response

PURPOSE = "devices"  # of the key that signs the cookies
VALID = 365 * 24 * 3600  # seconds since the last log-in


class Device(NamedTuple):
    """A browser in which the user of this name has logged in."""

    name: str
    id: str


class Devices:
    """The known browsers of one app.

    :param keys: returns the keys, the one to sign with first.
    """

    def __init__(self, keys: Callable[[], Sequence[str]]) -> None:
        self._keys = keys

    def read(self) -> Device | None:
        """Return the browser of the request, or None if nobody has logged in there."""
        cookie = request.cookies.get(current_app.config["DEVICE_COOKIE_NAME"], "")
        try:
            return Device(*self._signer().loads(cookie, max_age=VALID))
        except BadData:
            return None

    def remember(self, name: str, response: Response) -> Response:
        """Set the cookie of a browser in which this user has just logged in."""
        before = self.read()
        device = before if before is not None and before.name == name else Device(name, secrets.token_urlsafe(16))
        config = current_app.config
        response.set_cookie(
            config["DEVICE_COOKIE_NAME"],
            self._signer().dumps(device),
            max_age=VALID,
            secure=config["SESSION_COOKIE_SECURE"],
            httponly=True,
            samesite="Strict",
        )
        return response

    def _signer(self) -> Any:
        return URLSafeTimedSerializer(self._keys()[::-1], salt=PURPOSE)
