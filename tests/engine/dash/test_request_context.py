"""The context of a request in a job's message: encrypted, without credentials, and readable across versions and keys."""

import pickle
from typing import Any

import pytest
from cryptography.fernet import InvalidToken
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st

from jobqueue import DurableHuey
from jobqueue.dash.request_context import PURPOSE, Concealed, without_credentials

TRIGGERED = [{"prop_id": "in.value", "value": 1}]
CONTEXT = {
    "triggered_inputs": TRIGGERED,
    "cookies": {"region": "north"},
    "path": "/?code=7",
    "of_a_later_dash": "north",
}


def keys(*secrets: str) -> list[str]:
    """Return the keys of a queue whose present key is the first, and whose fallbacks are the others."""
    first, *others = secrets
    ring = DurableHuey("tests", "sqlite://", secret_key=first, secret_key_fallbacks=others).serializer
    derived: list[str] = ring.derived(PURPOSE)
    return derived


def test_only_the_keys_show_a_context() -> None:
    concealed = Concealed(CONTEXT, keys("one"))
    message = pickle.dumps(concealed)
    assert b"in.value" in message
    assert b"north" not in message and b"code=7" not in message and "north" not in f"{concealed} {concealed!r}"
    assert concealed.reveal(keys("one")) == CONTEXT
    with pytest.raises(InvalidToken):
        concealed.reveal(keys("two"))


def test_a_context_is_read_after_the_key_was_rotated() -> None:
    concealed = Concealed(CONTEXT, keys("old"))
    assert concealed.reveal(keys("new", "older", "old")) == CONTEXT
    with pytest.raises(InvalidToken):
        Concealed(CONTEXT, keys("new", "old")).reveal(keys("old"))  # the present key encrypts


def test_a_context_of_an_earlier_version_is_read() -> None:
    inner = pickle.dumps(CONTEXT)
    state = b"\x8c\x08_pickledB" + len(inner).to_bytes(4, "little") + inner
    message = b"cjobqueue.callbacks\nConcealed\n)\x81}" + state + b"sb."
    assert pickle.loads(message).reveal(keys("one")) == CONTEXT


def test_a_worker_of_an_earlier_version_reads_a_context_without_cookies_and_headers() -> None:
    message = pickle.dumps(Concealed(CONTEXT, keys("one")))
    assert b"jobqueue.callbacks" in message and b"jobqueue.dash" not in message  # the path that it knows
    assert pickle.loads(pickle.loads(message)._pickled) == {"triggered_inputs": TRIGGERED}


NAMES = st.sampled_from(
    ["Authorization", "Proxy-Authorization", "Cookie", "X-Api-Key", "X-Amz-Security-Token", "X-CSRFToken", "JSESSIONID",
     "connect.sid", "jwt", "apikey", "client_secret", "PASSWORD", "X-Goog-Iap-Jwt-Assertion"]
)  # fmt: skip


@given(
    name=NAMES,
    case=st.sampled_from([str, str.upper, str.lower, str.title]),
    kind=st.sampled_from(["cookies", "headers"]),
)
def test_what_is_named_like_a_credential_is_left_out(name: str, case: Any, kind: str) -> None:
    kept = {"Accept-Language": "de", "X-Tenant": "north", "X-Forwarded-User": "ann", "theme": "dark"}
    context = {kind: {case(name): "secret", **kept}, "path": "/"}
    assert without_credentials(context) == {kind: kept, "path": "/"}
    assert case(name) in context[kind]  # Dash goes on with its own


def test_the_cookies_that_the_app_configures_are_left_out() -> None:
    server = Flask("configured")
    server.config.update(SESSION_COOKIE_NAME="__Host-desk", REMEMBER_COOKIE_NAME="stay", MY_COOKIE_NAME="mine")
    with server.app_context():
        cookies = {"__Host-desk": "1", "stay": "2", "mine": "3", "theme": "dark"}
        assert without_credentials({"cookies": cookies}) == {"cookies": {"theme": "dark"}}
