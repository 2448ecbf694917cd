"""The context of a request in a job's message: encrypted, without credentials, and readable across versions and keys."""

import pickle
from typing import Any

import pytest
from cryptography.fernet import InvalidToken
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st

from jobqueue import DurableHuey
from jobqueue.dash.callback_updates import Concealed
from jobqueue.dash.request_context import PURPOSE, decrypt, encrypt, split

TRIGGERED = [{"prop_id": "in.value", "value": 1}]
CONTEXT = {
    "triggered_inputs": TRIGGERED,
    "cookies": {"region": "north"},
    "path": "/?code=7",
    "of_a_later_dash": "north",
}


def keys(*secrets: str) -> list[bytes]:
    """Return the keys of a queue whose present key is the first, and whose fallbacks are the others."""
    first, *others = secrets
    ring = DurableHuey("tests", "sqlite://", secret_key=first, secret_key_fallbacks=others).serializer
    return [bytes.fromhex(key) for key in ring.derived(PURPOSE)]


def test_only_the_keys_show_what_is_no_argument() -> None:
    arguments, request = split(CONTEXT)
    assert arguments == {"triggered_inputs": TRIGGERED}
    encrypted = encrypt(request, keys("one"))
    assert b"north" not in encrypted and b"code=7" not in encrypted
    assert arguments | decrypt(encrypted, keys("one")) == CONTEXT
    with pytest.raises(InvalidToken):
        decrypt(encrypted, keys("two"))


def test_a_context_is_read_after_the_key_was_rotated() -> None:
    assert decrypt(encrypt(CONTEXT, keys("old")), keys("new", "older", "old")) == CONTEXT
    with pytest.raises(InvalidToken):
        decrypt(encrypt(CONTEXT, keys("new", "old")), keys("old"))  # the present key encrypts


def test_a_context_of_an_earlier_version_is_read() -> None:
    inner = pickle.dumps(CONTEXT)
    state = b"\x8c\x08_pickledB" + len(inner).to_bytes(4, "little") + inner
    old = pickle.loads(b"cjobqueue.callbacks\nConcealed\n)\x81}" + state + b"sb.")
    assert old.reveal() | decrypt(old.encrypted, keys("one")) == CONTEXT


def test_a_worker_of_an_earlier_version_reads_a_context_without_cookies_and_headers() -> None:
    arguments, request = split(CONTEXT)
    message = pickle.dumps(Concealed(arguments, encrypt(request, keys("one"))))
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
    assert split(context) == ({}, {kind: kept, "path": "/"})
    assert case(name) in context[kind]  # Dash goes on with its own


def test_the_cookies_that_the_app_configures_are_left_out() -> None:
    server = Flask("configured")
    server.config.update(SESSION_COOKIE_NAME="__Host-desk", REMEMBER_COOKIE_NAME="stay", MY_COOKIE_NAME="mine")
    with server.app_context():
        cookies = {"__Host-desk": "1", "stay": "2", "mine": "3", "theme": "dark"}
        assert split({"cookies": cookies}) == ({}, {"cookies": {"theme": "dark"}})
