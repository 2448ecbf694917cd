"""Passwords and log-ins, as OWASP's ASVS asks (docs/security.md names these tests)."""

import logging
import re

import pytest
from browser import PASSWORD, Browser

from app.access import accounts
from app.jobs import huey
from app.jobs.hello import greet
from app.settings import settings
from jobqueue import DurableHuey
from jobqueue.accounts import login
from jobqueue.accounts.throttle import HOUR, PAUSE, TooManyFailures
from jobqueue.accounts.users import FIRST_PASSWORD, SHORTEST, _nobodys_hash, hashed

OTHER = "harbour lantern seven"


def wrong(browser: Browser, name: str = "ann", password: str = "x") -> int:
    return browser.send("/login", name=name, password=password).status_code


def pass_time(seconds: float) -> None:
    """For everything that is kept of users."""
    with huey.ledger.database.transaction() as tx:
        for table, column in (
            ("sessions", "seen_at"), ("sessions", "began_at"), ("failed_logins", "last_at"), ("users", "first_until"),
        ):  # fmt: skip
            tx.run(f"UPDATE {table} SET {column} = {column} - :seconds", seconds=seconds)


# --- passwords ---


@pytest.mark.parametrize(
    "password", ["", "eleven char", "password1234", "aaaaaaaaaaaa", "qwertyuiop12", "ann ann ann ann", "x" * 1001]
)
def test_a_short_or_common_password_is_refused(people: None, password: str) -> None:
    answer = Browser("ann").send("/account", current=PASSWORD, new=password)
    assert answer.status_code == 400 and 'role="alert"' in answer.text
    assert Browser("ann")


@pytest.mark.parametrize("password", ["harbour lantern seven", "  söß 日本語 lantern  ", "7315 9026 4481 6690"])
def test_a_password_may_be_of_any_characters_and_counts_as_it_is(people: None, password: str) -> None:
    assert "Your password has been changed" in Browser("ann").send("/account", current=PASSWORD, new=password).text
    assert Browser("ann", password)
    assert wrong(Browser(), password=password.strip() + ".") == wrong(Browser(), password=password.upper() + ".") == 401


def test_a_long_password_counts_to_its_end(people: None) -> None:
    accounts.users.set_password("ann", "harbour lantern " * 62)  # 992 characters
    assert wrong(Browser(), password="harbour lantern " * 61 + "harbour lanterm ") == 401


def test_users_change_their_password_with_the_one_that_they_have(people: None) -> None:
    ann = Browser("ann")
    assert ann.send("/account", current="not it", new=OTHER).status_code == 401
    assert ann.send("/account", current="", new=OTHER).status_code == 401
    assert ann.send("/account", current=PASSWORD, new=PASSWORD).status_code == 400
    assert Browser("ann")
    assert ann.send("/account", current=PASSWORD, new=OTHER).status_code == 200
    assert wrong(Browser(), password=PASSWORD) == 401
    assert Browser("ann", OTHER)


def test_fields_for_passwords_hide_them_and_take_what_password_managers_paste(people: None) -> None:
    for page, fields in ((Browser().get("/login").text, 1), (Browser("ann").get("/account").text, 2)):
        found = re.findall(r"<input[^>]*autocomplete=\"(?:current|new)-password\"[^>]*>", page)
        assert len(found) == fields and all('type="password"' in field for field in found)
        assert "onpaste" not in page and "<script" not in page
        assert not re.search("hint|secret question|forgot", page, re.IGNORECASE)


def test_a_password_is_kept_as_a_scrypt_hash(queue: DurableHuey, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # the settings that are used
    assert hashed(PASSWORD).startswith("scrypt:16384:8:5$")
    huey.immediate = True
    accounts.users.add("ann", PASSWORD)
    with huey.ledger.database.statement() as tx:
        (row,) = tx.all("SELECT * FROM users")
    assert PASSWORD not in str(dict(row)) and row["password"].startswith("scrypt:16384:8:5$")


def test_nobody_can_log_in_until_somebody_is_made_and_the_page_says_how(queue: DurableHuey) -> None:
    page = Browser().get("/login").text
    assert "python -m app users add NAME --admin" in page and "<form" not in page
    for name in ("admin", "root", "sa", ""):
        assert wrong(Browser(), name, name) in (400, 401)
    accounts.users.add("ann", PASSWORD, admin=True)
    page = Browser().get("/login").text
    assert "users add" not in page and "<form" in page


def test_a_first_password_is_random_is_good_for_setting_another_and_not_for_long(people: None) -> None:
    first = accounts.users.set_password("ann", None)
    assert len(first) >= SHORTEST and first != accounts.users.set_password("ben", None)
    ann = Browser("ann", first)
    assert ann.get("/hello").location == "/account"
    assert ann.start("hello", 1, "Ann").status_code == 403
    assert ann.get("/_dash-layout").status_code == 403
    assert ann.send("/account", current=first, new=first).status_code == 400
    assert ann.send("/account", current=first, new=OTHER).status_code == 200
    assert ann.get("/hello").status_code == 200

    first = accounts.users.set_password("ben", None)
    pass_time(FIRST_PASSWORD + 1)
    assert wrong(Browser(), "ben", first) == 401


# --- guessing ---


def test_a_wrong_name_is_answered_as_a_wrong_password(people: None) -> None:
    browser = Browser()
    pages = []
    for name in ("ann", "nobody", "no name!", "ann\0"):
        answer = browser.send("/login", name=name, password="x" * 12)
        assert answer.status_code == 401
        pages.append(re.sub(r'(name="name" value)="[^"]*"', r"\1", answer.text))
    assert len(set(pages)) == 1


def test_a_wrong_name_takes_as_long_as_a_wrong_password(people: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """In work, which does not depend on what else the machine does: one hash each."""
    from werkzeug import security

    methods: list[str] = []
    before = security._hash_internal

    def counted(method: str, *rest: str) -> tuple[str, str]:
        methods.append(method)
        return before(method, *rest)

    monkeypatch.setattr(security, "_hash_internal", counted)
    _nobodys_hash("scrypt:512:8:1")
    methods.clear()
    for name in ("ann", "nobody", "no name!"):
        accounts.users.authenticate(name, "x", "10.0.0.1")
    assert methods == ["scrypt:512:8:1"] * 3


@pytest.mark.parametrize("name", ["ann", "nobody"])
def test_after_ten_failures_each_log_in_has_to_wait(people: None, name: str) -> None:
    browser = Browser()
    assert [wrong(browser, name) for _ in range(10)] == [401] * 10
    answer = browser.send("/login", name=name, password=PASSWORD)
    assert answer.status_code == 429 and "Try again in" in answer.text
    assert 0 < int(answer.headers["Retry-After"]) <= PAUSE
    pass_time(PAUSE)
    assert wrong(browser, name) == 401
    assert wrong(browser, name) == 429  # one at a time, from then on
    pass_time(PAUSE)
    assert wrong(browser, name, PASSWORD) == (302 if name == "ann" else 401)


def test_failures_from_an_address_count_whatever_names_are_tried(people: None) -> None:
    tries = [users_at("10.0.0.1", f"name{number}") for number in range(11)]
    assert tries == [None] * 10 + ["wait"]
    assert users_at("10.0.0.2", "name1") is None
    pass_time(PAUSE)
    assert [users_at("10.0.0.1", "ann", PASSWORD) for _ in range(2)] == ["ann", "ann"]  # of whom nobody has to wait
    assert [users_at("10.0.0.1", "name11") for _ in range(2)] == [None, "wait"]
    assert [users_at(f"2001:db8::{number}", f"n{number}") for number in range(11)] == [None] * 10 + [
        "wait"
    ]  # one network


def test_a_successful_log_in_forgets_the_failures_of_the_name_but_not_of_the_address(people: None) -> None:
    for number in range(9):
        assert users_at("10.0.0.1", f"name{number}") is None
    assert users_at("10.0.0.1", "ann", PASSWORD) == "ann"
    assert users_at("10.0.0.1", "name10") is None
    assert users_at("10.0.0.1", "name11") == "wait"


def test_failures_are_forgotten_after_an_hour(people: None) -> None:
    for _ in range(10):
        users_at("10.0.0.1", "ann")
    pass_time(HOUR)
    assert [users_at("10.0.0.1", "ann") for _ in range(2)] == [None, None]


def test_the_current_password_cannot_be_guessed_at_either(people: None) -> None:
    ann = Browser("ann")
    statuses = [ann.send("/account", current="x", new=OTHER).status_code for _ in range(11)]
    assert statuses == [401] * 10 + [429]


def users_at(address: str, name: str, password: str = "x") -> str | None:
    try:
        user = accounts.users.authenticate(name, password, address)
    except TooManyFailures:
        return "wait"
    return None if user is None else user.name


# --- submits ---


def test_a_user_is_told_of_the_limit_of_jobs_per_minute(
    people: None, queue: DurableHuey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accounts, "settings", settings.model_copy(update={"submits": 3}))
    ann = Browser("ann")
    answers = [ann.start("hello", 1, "Ann").text for _ in range(4)]
    assert [("You can submit at most 3 jobs per minute." in answer) for answer in answers] == [
        False,
        False,
        False,
        True,
    ]
    assert len(queue.jobs()) == 3
    assert "?job=" in Browser("ben").start("hello", 1, "Ben").text
    with queue.ledger.database.transaction() as tx:
        tx.run("UPDATE jobs SET created_at = created_at - 60")
    assert "?job=" in ann.start("hello", 1, "Ann").text


def test_actions_are_logged_with_user_and_time(
    people: None, queue: DurableHuey, capsys: pytest.CaptureFixture[str]
) -> None:
    login.log_acts()
    try:
        ann, eve = Browser("ann"), Browser("eve")
        Browser().send("/login", name="ann\nforged", password="x")
        ann.start("hello", 1, "Ann")
        job = greet.using(owner="ann").schedule(("Ann",), delay=60).id
        for act in ("cancel", "cancel", "retry", "again"):  # the second has nothing to cancel
            eve.press(act, "app.pages.hello", job)
        ann.send("/account", current=PASSWORD, new=OTHER)
        eve.send("/logout")
    finally:
        logging.getLogger("jobqueue.acts").handlers.clear()
    told = capsys.readouterr().err.splitlines()
    new = queue.jobs()[0].id
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} jobqueue.acts: ", line) for line in told)
    assert [line.split(".acts: ")[1] for line in told] == [
        "ann logs in from 127.0.0.1",
        "eve logs in from 127.0.0.1",
        "Log-in as 'ann\\nforged' from 127.0.0.1 failed",
        "ann submits 1 job(s)",
        f"eve cancels job {job} of ann (app.jobs.hello.greet)",
        f"eve retries job {job} of ann (app.jobs.hello.greet)",
        "eve submits 1 job(s)",
        f"eve runs as {new} again job {job} of ann (app.jobs.hello.greet)",
        "ann changes the password",
        "eve logs out",
    ]
