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
from jobqueue.accounts import login, passwords
from jobqueue.accounts.passwords import SHORTEST, WeakPassword
from jobqueue.accounts.users import FIRST_PASSWORD, _nobodys_hash, hashed

OTHER = "harbour lantern seven"
NAMES = ["ann.smith@firm.example", "portfolio-desk", "Portfolio Desk"]  # of a user and of an app


def wrong(browser: Browser, name: str = "ann", password: str = "x") -> int:
    return browser.send("/login", name=name, password=password).status_code


def pass_time(seconds: float) -> None:
    """Make everything stored about users older by some seconds."""
    with huey.ledger.database.transaction() as tx:
        for table, column in (
            ("sessions", "seen_at"), ("sessions", "began_at"), ("failed_logins", "last_at"), ("users", "first_until"),
        ):  # fmt: skip
            tx.run(f"UPDATE {table} SET {column} = {column} - :seconds", seconds=seconds)


# --- passwords ---


@pytest.mark.parametrize(
    "password",
    ["", "x" * 1001, "fourteen chars", "aaaaaaaaaaaaaaa", "qwertyuiopasdfgh", "password123456789", "Summer2026!!",
     "Summer2026!!Summer2026!!", "ann ann ann ann ann", "correcthorsebatterystaple", "Correct-Horse-Battery-Staple1",
     "correct horse battery staple 2026"],
)  # fmt: skip
def test_a_short_or_common_password_is_refused(people: None, password: str) -> None:
    answer = Browser("ann").send("/account", current=PASSWORD, new=password)
    assert answer.status_code == 400 and 'role="alert"' in answer.text
    assert Browser("ann")


def test_every_breached_password_of_the_list_is_refused_and_so_are_its_usual_variations() -> None:
    from zxcvbn.frequency_lists import FREQUENCY_LISTS

    breached = [password for password in FREQUENCY_LISTS["passwords"] if len(password) >= SHORTEST - 5]
    assert len(breached) > 500
    for password in breached[:: len(breached) // 100]:
        for variation in (password, password.capitalize(), f"{password}12345"):
            with pytest.raises(WeakPassword):
                passwords.check(variation, [])


@pytest.mark.parametrize(
    "password",
    ["portfolio-desk-ann-2026", "PortfolioDesk2026!!", "ann.smith@firm.example", "P0rtf0lio Desk 26!", "smith+firm+smith+2026",
     "portfoliodeskannsmith"],
)  # fmt: skip
def test_the_names_of_the_user_and_the_app_make_no_password(password: str) -> None:
    with pytest.raises(WeakPassword, match="Try several words"):
        passwords.check(password, NAMES)


def test_a_strong_password_may_contain_a_name() -> None:
    passwords.check("ann has a harbour lantern seven", NAMES)
    passwords.check("planner desktop harbour seven", NAMES)  # words with a name in them


@pytest.mark.parametrize("password", ["harbour lantern seven", "  söß 日本語 lantern  ", "7315 9026 4481 6690"])
def test_a_password_may_have_any_characters_and_is_compared_unchanged(people: None, password: str) -> None:
    assert "Your password has been changed" in Browser("ann").send("/account", current=PASSWORD, new=password).text
    assert Browser("ann", password)
    assert wrong(Browser(), password=password.strip() + ".") == wrong(Browser(), password=password.upper() + ".") == 401


def test_a_long_password_is_compared_to_its_end(people: None) -> None:
    accounts.users.set_password("ann", "harbour lantern " * 62)  # 992 characters
    assert wrong(Browser(), password="harbour lantern " * 61 + "harbour lanterm ") == 401


def test_users_change_their_password_by_giving_the_current_one(people: None) -> None:
    ann = Browser("ann")
    assert ann.send("/account", current="not it", new=OTHER).status_code == 401
    assert ann.send("/account", current="", new=OTHER).status_code == 401
    assert ann.send("/account", current=PASSWORD, new=PASSWORD).status_code == 400
    assert Browser("ann")
    assert ann.send("/account", current=PASSWORD, new=OTHER).status_code == 200
    assert wrong(Browser(), password=PASSWORD) == 401
    assert Browser("ann", OTHER)


def test_password_fields_hide_their_text_and_accept_pasted_passwords(people: None) -> None:
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


def test_without_accounts_the_log_in_page_says_how_to_create_one(queue: DurableHuey) -> None:
    page = Browser().get("/login").text
    assert "python -m app users add NAME --admin" in page and "<form" not in page
    for name in ("admin", "root", "sa", ""):
        assert wrong(Browser(), name, name) in (400, 401)
    accounts.users.add("ann", PASSWORD, admin=True)
    page = Browser().get("/login").text
    assert "users add" not in page and "<form" in page


def test_a_first_password_is_random_expires_and_only_allows_to_set_another(people: None) -> None:
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


def test_a_wrong_name_is_answered_like_a_wrong_password(people: None) -> None:
    browser = Browser()
    pages = []
    for name in ("ann", "nobody", "no name!", "ann\0"):
        answer = browser.send("/login", name=name, password="x" * 12)
        assert answer.status_code == 401
        pages.append(re.sub(r'(name="name" value)="[^"]*"', r"\1", answer.text))
    assert len(set(pages)) == 1


def test_a_wrong_name_takes_as_long_as_a_wrong_password(people: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The measure is work, one hash each: time would depend on what else the machine does."""
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
    people: None, queue: DurableHuey, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # as in a process whose logging is not configured
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
