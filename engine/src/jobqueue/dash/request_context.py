"""The context of a background callback's request, as the job's message keeps it for `ctx`.

A reader of the database must not be able to log in with it. So credentials are left out, and all that is not an argument of the
callback is encrypted, with keys that are derived from SECRET_KEY as the signing keys are.
"""

import base64
import pickle
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import flask

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet

PURPOSE = "request contexts"  # of the keys that encrypt

# Keys of Dash's context that say which components called, and with which values. The job's arguments hold these values too. A
# worker of an earlier version has these keys alone, and so no cookies and headers.
ARGUMENTS = {
    "args_grouping",
    "ignore_register_page",
    "input_values",
    "inputs_list",
    "outputs_grouping",
    "outputs_list",
    "state_values",
    "states_list",
    "triggered_inputs",
    "updated_props",
    "using_args_grouping",
    "using_outputs_grouping",
}

# Parts of the names of headers and cookies that let their holder in.
CREDENTIAL = re.compile(
    r"authorization|cookie|session|sessid|\bsid\b|token|secret|passw|api-?key|jwt|assertion", re.IGNORECASE
)


def split(context: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the parts of Dash's context: what ARGUMENTS names, and what to encrypt. Leave credentials out.

    These are the cookies that the app's configuration names, as SESSION_COOKIE_NAME, and all cookies and headers that are named
    like a credential.
    """
    config = flask.current_app.config if flask.has_app_context() else {}
    own = {value for name, value in config.items() if name.endswith("COOKIE_NAME")}
    arguments = {name: value for name, value in context.items() if name in ARGUMENTS}
    request = {name: value for name, value in context.items() if name not in ARGUMENTS}
    for kind in request.keys() & {"cookies", "headers"}:
        request[kind] = {
            name: value for name, value in request[kind].items() if name not in own and not CREDENTIAL.search(name)
        }
    return arguments, request


def encrypt(request: Mapping[str, Any], keys: Sequence[bytes]) -> bytes:
    """Encrypt the second part of a context.

    :param keys: of 32 bytes. The first encrypts.
    """
    return _cipher(keys).encrypt(pickle.dumps(request))


def decrypt(encrypted: bytes, keys: Sequence[bytes]) -> dict[str, Any]:
    """Return what `encrypt` was given, or nothing for a message of an earlier version, which encrypted nothing.

    :raises cryptography.fernet.InvalidToken: if none of the keys encrypted it.
    """
    request: dict[str, Any] = pickle.loads(_cipher(keys).decrypt(encrypted)) if encrypted else {}
    return request


def _cipher(keys: Sequence[bytes]) -> "MultiFernet":
    from cryptography.fernet import Fernet, MultiFernet  # 10 MB, in processes that have background callbacks

    return MultiFernet([Fernet(base64.urlsafe_b64encode(key)) for key in keys])
