"""Failed log-ins are limited by address, by name and by browser, and no attacker keeps a user out (docs/security.md)."""

import re
from typing import Any

import pytest
from browser import HERE, PASSWORD, Browser
from dash import Dash
from flask import Flask
from itsdangerous import URLSafeTimedSerializer

from app.access import accounts
from app.settings import settings
from jobqueue import DurableHuey
from jobqueue.accounts.devices import PURPOSE, Devices
from jobqueue.accounts.throttle import HOUR, PAUSE, PAUSE_OF_NAME, TRIES, TRIES_OF_NAME, TooManyFailures, network
from tests.engine.accounts.test_passwords import OTHER, pass_time, wrong


def users_at(address: str, name: str, password: str = "x") -> str | None:
    """Log in from an address, and return the user's name, None for a wrong password, or "wait"."""
    try:
        user = accounts.users.authenticate(name, password, address)
    except TooManyFailures:
        return "wait"
    return None if user is None else user.name


def try_until_refused(address: str, name: str) -> int:
    """Guess at a password as often as an address may, and return the number of guesses."""
    guesses = 0
    while users_at(address, name) is None:
        guesses += 1
    return guesses


def fill_the_limit_of(name: str) -> None:
    """Guess at a password from many addresses until the name's limit is reached."""
    for number in range(TRIES_OF_NAME // TRIES):
        assert try_until_refused(f"10.1.0.{number}", name) == TRIES
    assert users_at("10.2.0.1", name, PASSWORD) == "wait"


def stored(queue: DurableHuey) -> str:
    with queue.ledger.database.statement() as tx:
        return str([dict(row) for row in tx.all("SELECT * FROM failed_logins")])


# --- by address ---


@pytest.mark.parametrize("name", ["ann", "nobody"])
def test_after_ten_failures_each_log_in_has_to_wait(people: None, name: str) -> None:
    browser = Browser()
    assert [wrong(browser, name) for _ in range(TRIES)] == [401] * TRIES
    answer = browser.send("/login", name=name, password=PASSWORD)
    assert answer.status_code == 429 and "Try again in 5 minutes." in answer.text
    assert 0 < int(answer.headers["Retry-After"]) <= PAUSE
    pass_time(PAUSE)
    assert wrong(browser, name) == 401
    assert wrong(browser, name) == 429  # from then on one at a time
    pass_time(PAUSE)
    assert wrong(browser, name, PASSWORD) == (302 if name == "ann" else 401)


def test_failures_from_an_address_count_whatever_names_are_tried(people: None) -> None:
    tries = [users_at("10.0.0.1", f"name{number}") for number in range(TRIES + 1)]
    assert tries == [None] * TRIES + ["wait"]
    assert users_at("10.0.0.2", "name1") is None
    pass_time(PAUSE)
    assert [users_at("10.0.0.1", "ann", PASSWORD) for _ in range(2)] == ["ann", "ann"]  # successful log-ins do not wait
    assert [users_at("10.0.0.1", "name11") for _ in range(2)] == [None, "wait"]


def test_a_successful_log_in_takes_back_only_its_own_count(people: None) -> None:
    for number in range(TRIES - 1):
        assert users_at("10.0.0.1", f"name{number}") is None
    assert users_at("10.0.0.1", "ann", PASSWORD) == "ann"
    assert users_at("10.0.0.1", "name10") is None
    assert users_at("10.0.0.1", "name11") == "wait"


def test_failures_are_forgotten_after_an_hour(people: None, queue: DurableHuey) -> None:
    assert try_until_refused("10.0.0.1", "ann") == TRIES
    pass_time(HOUR)
    assert try_until_refused("10.0.0.1", "ann") == TRIES
    pass_time(2 * HOUR)
    assert users_at("10.0.0.2", "ben", PASSWORD) == "ben"
    assert "10.0.0.1" not in stored(queue)


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.1:5678", "192.0.2.1"),  # as some routers forward it
        ("::ffff:192.0.2.1", "192.0.2.1"),  # as a server that listens on IPv6 sees it
        ("2001:db8:0:12:3::4", "2001:db8::/56"),
        ("2001:db8:0:ff::", "2001:db8::/56"),
        ("2001:db8:0:100::", "2001:db8:0:100::/56"),
        ("[2001:db8::1]:80", "2001:db8::/56"),
        ("[2001:db8::1]", "2001:db8::/56"),
        ("fe80::1%eth0", "fe80::/56"),
        ("", "unknown"),
        ("unix:", "unknown"),
    ],
)
def test_an_address_is_counted_as_what_one_subscriber_holds(address: str, counted: str) -> None:
    assert network(address) == counted


@pytest.mark.parametrize(
    ("proxies", "counted"), [(0, "127.0.0.1"), (1, "192.0.2.3"), (2, "192.0.2.2"), (None, "127.0.0.1")]
)
def test_behind_proxies_the_address_is_the_one_that_the_last_trusted_proxy_saw(
    people: None, queue: DurableHuey, monkeypatch: pytest.MonkeyPatch, proxies: int | None, counted: str
) -> None:
    monkeypatch.setattr(accounts, "settings", settings.model_copy(update={"proxies": proxies, "auth": "accounts"}))
    server = Flask("behind proxies")
    app = Dash("behind proxies", server=server)  # type: ignore[arg-type]  # Dash's types do not know Flask
    app.layout = []
    accounts.protect(server, app)
    browser = server.test_client()
    token = re.findall(r'name="token" value="([^"]+)"', browser.get("/login").text)[0]
    for number in range(TRIES + 1):
        told = HERE | {"X-Forwarded-For": f"198.51.100.{number}, 192.0.2.2, 192.0.2.3"}  # the browser claims the first
        answer = browser.post("/login", data={"token": token, "name": f"name{number}", "password": "x"}, headers=told)
        assert answer.status_code == (401 if number < TRIES else 429)
    assert re.findall(r"address ([\d.]+)", stored(queue)) == [counted]


# --- by name, and the browsers that are known ---


def test_one_address_cannot_keep_a_user_from_logging_in_elsewhere(people: None) -> None:
    for _ in range(5 * TRIES_OF_NAME):  # for twelve hours
        try_until_refused("10.0.0.1", "ann")
        assert users_at("10.0.0.2", "ann", PASSWORD) == "ann"
        pass_time(PAUSE / 3)


def test_many_addresses_together_have_to_wait_for_a_name(people: None) -> None:
    fill_the_limit_of("ann")
    assert users_at("10.2.0.2", "ben", PASSWORD) == "ben"
    pass_time(PAUSE_OF_NAME)
    assert [users_at(f"10.3.0.{number}", "ann") for number in range(3)] == [None, "wait", "wait"]
    pass_time(PAUSE_OF_NAME)
    assert users_at("10.3.0.4", "ann", PASSWORD) == "ann"  # those that had to wait prolonged nothing


def test_a_known_browser_logs_in_whatever_others_do(people: None) -> None:
    ann = Browser("ann")
    ann.send("/logout")
    fill_the_limit_of("ann")
    assert try_until_refused("127.0.0.1", "nobody") == TRIES
    assert wrong(Browser(), "ann", PASSWORD) == 429
    assert wrong(ann, "ann", PASSWORD) == 302
    assert ann.send("/account", current=PASSWORD, new=OTHER).status_code == 200
    ann.send("/logout")
    assert wrong(ann, "ben", PASSWORD) == 429  # it is known as Ann's


def test_failures_in_a_known_browser_are_limited_there_alone(people: None) -> None:
    ann = Browser("ann")
    ann.send("/logout")
    assert [wrong(ann, "ann") for _ in range(TRIES + 1)] == [401] * TRIES + [429]
    assert wrong(ann, "ann", PASSWORD) == 429
    assert wrong(Browser(), "ann", PASSWORD) == 302
    pass_time(PAUSE)
    assert wrong(ann, "ann", PASSWORD) == 302


def test_guesses_at_the_current_password_are_limited(people: None) -> None:
    ann = Browser("ann")
    statuses = [ann.send("/account", current="x", new=OTHER).status_code for _ in range(TRIES + 1)]
    assert statuses == [401] * TRIES + [429]


def test_a_browser_stays_known_after_a_log_out_and_its_cookie_is_no_log_in(people: None) -> None:
    ann = Browser("ann")
    cookie = ann.client.get_cookie("session-device")
    assert cookie is not None and cookie.http_only and cookie.same_site == "Strict" and PASSWORD not in cookie.value
    ann.send("/logout")
    assert ann.client.get_cookie("session-device") == cookie
    other = Browser()
    other.client.set_cookie("session-device", cookie.value)
    assert other.get("/account").status_code == 302


@pytest.mark.parametrize("forge", ["another key", "another purpose", "altered", "garbage", ""])
def test_a_forged_cookie_makes_no_browser_known(people: None, queue: DurableHuey, forge: str) -> None:
    key = queue.serializer.derived("sessions" if forge == "another purpose" else PURPOSE)[0]
    signer = URLSafeTimedSerializer("another" if forge == "another key" else key, salt=PURPOSE)
    cookie = signer.dumps(["ben" if forge == "altered" else "ann", "id"])
    if forge == "altered":
        cookie = signer.dumps(["ann", "id"]).partition(".")[0] + cookie[cookie.index(".") :]
    browser = Browser()
    browser.client.set_cookie("session-device", cookie if forge.startswith("a") else "\xe9;|." * len(forge))
    fill_the_limit_of("ann")
    assert wrong(browser, "ann", PASSWORD) == 429


def test_a_browser_stays_known_when_the_key_is_rotated() -> None:
    def read(keys: list[str], cookie: str) -> Any:
        with server.test_request_context(headers={"Cookie": f"device={cookie}"}):
            return Devices(lambda: keys).read()

    server = Flask("devices")
    server.config.update(DEVICE_COOKIE_NAME="device")
    before = str(URLSafeTimedSerializer("old", salt=PURPOSE).dumps(["ann", "id"]))
    assert read(["new", "older", "old"], before) == ("ann", "id")
    assert read(["new"], before) is None
    with server.test_request_context(headers={"Cookie": f"device={before}"}):
        answer = Devices(lambda: ["new", "old"]).remember("ann", server.make_response(""))
    after = answer.headers["Set-Cookie"].removeprefix("device=").partition(";")[0]
    assert read(["new"], after) == ("ann", "id")


def test_a_password_in_the_field_of_the_name_is_not_stored(people: None, queue: DurableHuey) -> None:
    browser = Browser()
    assert wrong(browser, "mountain-river-nine") == wrong(browser, "ann") == 401
    assert "mountain" not in stored(queue) and "ann" not in stored(queue)
    assert stored(queue).count("'name ") == 2
