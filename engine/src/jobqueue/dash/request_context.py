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

# Keys of Dash's context that say which components called, and with which values. The job's arguments hold these values too.
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


class Concealed:
    """A request's context in a job's message. No page shows it.

    :param context: Dash's context.
    :param keys: the keys to encrypt with: the first encrypts, and each decrypts.
    """

    def __init__(self, context: Mapping[str, Any], keys: Sequence[str]) -> None:
        # Workers of earlier versions read `_pickled` alone, and then have no cookies and headers.
        self._pickled = pickle.dumps({name: value for name, value in context.items() if name in ARGUMENTS})
        rest = {name: value for name, value in context.items() if name not in ARGUMENTS}
        self._encrypted = _cipher(keys).encrypt(pickle.dumps(rest))

    def __repr__(self) -> str:
        return "<not shown>"

    def reveal(self, keys: Sequence[str]) -> dict[str, Any]:
        """Return the context.

        :raises cryptography.fernet.InvalidToken: if none of the keys encrypted it.
        """
        context: dict[str, Any] = pickle.loads(self._pickled)
        if encrypted := vars(self).get("_encrypted"):  # an earlier version wrote all into `_pickled`
            context |= pickle.loads(_cipher(keys).decrypt(encrypted))
        return context


# The path in stored messages. Workers of the last version and of this one read each other's.
Concealed.__module__ = "jobqueue.callbacks"


def without_credentials(context: Mapping[str, Any]) -> dict[str, Any]:
    """Return a context without the cookies and headers that let their holder in.

    These are the cookies that the app's configuration names, as SESSION_COOKIE_NAME, and whatever is named like a credential.
    """
    config = flask.current_app.config if flask.has_app_context() else {}
    own = {value for name, value in config.items() if name.endswith("COOKIE_NAME")}
    kept = {
        kind: {name: value for name, value in context[kind].items() if name not in own and not CREDENTIAL.search(name)}
        for kind in ("cookies", "headers")
        if kind in context
    }
    return {**context, **kept}


def _cipher(keys: Sequence[str]) -> "MultiFernet":
    from cryptography.fernet import Fernet, MultiFernet  # 10 MB, in processes that have background callbacks

    return MultiFernet([Fernet(base64.urlsafe_b64encode(bytes.fromhex(key))) for key in keys])
