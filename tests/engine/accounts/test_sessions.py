"""Sessions, cookies and security headers, as OWASP's ASVS asks (docs/security.md names these tests)."""

import json
import re
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest
from browser import ACT, HERE, PASSWORD, Browser, asked
from dash import Dash, html

from app import web
from app.access import accounts
from app.jobs.hello import greet
from jobqueue import DatabaseUnavailable, DurableHuey
from jobqueue.accounts import forms, headers
from jobqueue.accounts.sessions import IDLE, LONGEST_SESSION
from jobqueue.kernel import NOTEBOOKS
from jobqueue.plain_page import PAGE
from jobqueue.settings import Settings
from tests.baking import KIT, TEMPLATE
from tests.engine.accounts.test_passwords import OTHER, pass_time

READS = ("HEAD", "GET", "OPTIONS")
STATIC = "/_dash-component-suites/dash_mantine_components/dash_mantine_components.js"


def is_in(browser: Browser) -> bool:
    return browser.get("/account").status_code == 200


def cookie_of(browser: Browser) -> str:
    cookie = browser.client.get_cookie("session")
    return "" if cookie is None else cookie.value


# --- a session ---


def test_a_session_is_a_long_random_token_made_by_the_server(people: None, queue: DurableHuey) -> None:
    tokens = [accounts.sessions.begin("ann") for _ in range(50)]
    assert len({*tokens}) == 50 and {len(token) for token in tokens} == {43}  # of 6 bits each
    with queue.ledger.database.statement() as tx:
        kept = str([dict(row) for row in tx.all("SELECT * FROM sessions")])
    assert not any(token in kept for token in tokens)  # a stolen database opens no session


def test_each_log_in_begins_another_session_and_ends_the_one_before(people: None) -> None:
    ann, before = Browser("ann"), Browser()
    before.client.set_cookie("session", cookie_of(ann))
    assert is_in(before)
    token = re.findall(r'name="token" value="([^"]+)"', ann.get("/account").text)[0]
    fields = {"token": token, "name": "ann", "password": PASSWORD}
    assert ann.client.post("/login", data=fields, headers=HERE).status_code == 302
    assert is_in(ann) and not is_in(before)


def test_a_log_in_replaces_the_browsers_cookie(people: None) -> None:
    browser = Browser()
    planted = cookie_of(browser)
    browser.send("/login", name="ann", password=PASSWORD)
    victim = cookie_of(browser)
    assert planted and victim != planted
    attacker = Browser()
    attacker.client.set_cookie("session", planted)
    assert not is_in(attacker) and is_in(browser)


def test_logging_out_ends_the_session(people: None) -> None:
    ann, elsewhere = Browser("ann"), Browser("ann")
    held = cookie_of(ann)
    assert ann.send("/logout").location == "/login"
    ann.client.set_cookie("session", held)
    assert not is_in(ann) and is_in(elsewhere)


def test_a_session_ends_when_idle_or_too_old(people: None) -> None:
    ann = Browser("ann")
    for _ in range(LONGEST_SESSION // IDLE + 1):
        assert is_in(ann)
        pass_time(IDLE - 60)
    assert not is_in(ann)  # though it was used all the time
    ben = Browser("ben")
    pass_time(IDLE)
    assert not is_in(ben)


def test_changing_the_password_or_removing_the_user_ends_all_sessions(people: None) -> None:
    here, elsewhere, ben = Browser("ann"), Browser("ann"), Browser("ben")
    here.send("/account", current=PASSWORD, new=OTHER)
    assert is_in(here) and not is_in(elsewhere) and is_in(ben)
    accounts.users.set_password("ann", PASSWORD)
    assert not is_in(here)
    accounts.users.remove("ben")
    assert not is_in(ben)
    assert Browser().send("/login", name="ben", password=PASSWORD).status_code == 401


def test_a_form_without_its_token_is_refused(people: None) -> None:
    browser = Browser()
    for token in ("", "x", "\u00e9"):
        answer = browser.client.post("/login", data={"name": "ann", "password": PASSWORD, "token": token}, headers=HERE)
        assert answer.status_code == 400
    assert not is_in(browser)


@pytest.mark.parametrize("address", ["/logout", "/_dash-update-component"])
def test_a_get_changes_nothing(people: None, address: str) -> None:
    ann = Browser("ann")
    assert "hello-name" not in ann.get(address).text
    assert is_in(ann)


# --- methods ---

LOG_IN = {"name": "ann", "password": PASSWORD}
CHANGE = {"current": PASSWORD, "new": OTHER}


@pytest.mark.parametrize("fields", [LOG_IN, {}])
def test_a_head_request_logs_nobody_in_and_is_no_failed_log_in(
    people: None, queue: DurableHuey, fields: dict[str, str]
) -> None:
    browser = Browser()
    before = stored(queue)
    for given in ({"data": fields}, {"query_string": fields}):
        assert browser.client.head("/login", headers=HERE, **given).status_code == 200
    assert not is_in(browser) and stored(queue) == before


def test_requests_of_methods_that_read_change_nothing(people: None, queue: DurableHuey) -> None:
    """Every address of the app, with the fields of every form and the body of a callback."""
    ann = Browser("ann")
    job = greet.using(owner="ann").schedule(("Ann",), delay=60)
    token = re.findall(r'name="token" value="([^"]+)"', ann.get("/account").text)[0]
    form = {"token": token, "job": job.id, **LOG_IN, **CHANGE}
    callback = asked(ACT, [1], None, [{"next": str(uuid.uuid4()), "given": {}}], [0], at=[
        {"panel": "app.pages.hello", "job": job.id, "act": "cancel"}
    ])  # fmt: skip
    addresses = [rule.rule.replace("<path:path>", f"jobs/{job.id}") for rule in web.server.url_map.iter_rules()]
    sent: list[dict[str, Any]] = [{"data": form}, {"query_string": form}, {"json": callback}, {}]
    before = stored(queue)
    answered = set()
    for address in addresses:
        for given in sent:
            statuses = [ann.client.open(address, method=method, headers=HERE, **given).status_code for method in READS]
            answered.add(tuple(statuses))
    assert {head == get for head, get, _ in answered} == {True}
    assert {(200, 200, 200), (302, 302, 200)} <= answered
    assert stored(queue) == before and is_in(ann)


def test_every_view_lists_its_methods_and_refuses_all_others(people: None) -> None:
    ann = Browser("ann")
    for rule in web.server.url_map.iter_rules():
        changes = {"POST"} if "<file_id>" not in rule.rule else {"PATCH", "DELETE"}
        assert rule.methods is not None and rule.methods <= {*READS, *changes}, rule
    for address in ("/login", "/account", "/logout", "/hello", "/_dash-update-component", "/health"):
        for method in ("PUT", "PATCH", "DELETE", "TRACE", "PROPFIND", "X-LOGIN"):
            answer = ann.client.open(address, method=method, headers=HERE, data=LOG_IN)
            assert answer.status_code in (401, 405), (address, method)
    assert is_in(ann)


def stored(queue: DurableHuey) -> list[list[tuple[object, ...]]]:
    """Return every row of the database."""
    with queue.ledger.database.statement() as tx:
        tables = [row["name"] for row in tx.all("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return [[tuple(row) for row in tx.all(f"SELECT * FROM {table}")] for table in tables]


# --- where a log-in leads ---


@pytest.mark.parametrize(
    "wanted",
    [
        "https://evil.example",
        "//evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "javascript:alert(1)",
        "/\n/evil",
        "evil",
    ],
)
def test_the_log_in_redirects_to_no_other_host(people: None, wanted: str) -> None:
    assert Browser().send("/login", name="ann", password=PASSWORD, next=wanted).location == "/"
    assert Browser().send("/login", name="ann", password=PASSWORD, next="/hello?job=7").location == "/hello?job=7"


# --- production's cookies and headers, in a process of its own ---

PRODUCTION = """
import sys
from app.access import accounts
from app.web import server
from app.jobs import huey
huey.immediate = True
accounts.users.add("ann", "mountain river nine")
browser = server.test_client()
told = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "1.1.1.1, 203.0.113.9"}
page = browser.get("/login", headers=told)
import re
token = re.search(r'name="token" value="([^"]+)"', page.text)[1]
form = {"name": "ann", "password": "mountain river nine", "token": token}
answer = browser.post("/login", data=form, headers=told | {"Origin": "https://localhost"}, base_url="http://localhost")
print(answer.status_code, *sorted(answer.headers.getlist("Set-Cookie")), sep="|")
print(answer.headers["Strict-Transport-Security"])
plain = browser.get("/hello?a=b", headers={"X-Forwarded-Proto": "http"})
print(plain.status_code, plain.location)
print(browser.get("/health", headers={"X-Forwarded-Proto": "http"}).status_code)
"""


@pytest.mark.parametrize(
    ("prefix", "name"),
    [("/", "__Host-session"), pytest.param("/tools/", "__Host-session-tools", marks=pytest.mark.long)],
)
def test_in_production_the_app_and_its_cookie_require_https(prefix: str, name: str) -> None:
    settings = {
        "DASH_REQUESTS_PATHNAME_PREFIX": prefix,  # which a proxy strips
        "APP_ENV": "production", "SECRET_KEY": "k3yTh4tNobodyGuesses-0123456789abcdefg",
        "DATABASE_URL": "postgresql://ann:pw@127.0.0.1:1/none", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(KIT / "engine" / "src"),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", PRODUCTION], cwd=TEMPLATE, env=settings, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    answer, hsts, plain, health = done.stdout.splitlines()
    status, device, session = answer.split("|")
    assert status == "302" and device.startswith(f"{name}-device=") and session.startswith(f"{name}=")
    for cookie in (device, session):
        assert all(f"; {part}" in cookie for part in ("Secure", "HttpOnly", "Path=/"))
        assert "Domain" not in cookie
    assert "; SameSite=Strict" in device and "; SameSite=Lax" in session
    assert int(re.findall(r"max-age=(\d+)", hsts)[0]) >= 365 * 24 * 3600 and "includeSubDomains" in hsts
    assert plain == f"308 https://localhost{prefix}hello?a=b"
    assert health == "200"
    assert (
        "ann logs in from 203.0.113.9" in done.stderr
    )  # the address that the router saw, not the one that the browser claims


# --- headers ---


@pytest.mark.parametrize("address", ["/login", "/account", "/hello", "/no/such/page", "/_dash-layout", STATIC])
@pytest.mark.parametrize("name", [None, "ann"])
def test_every_response_has_the_security_headers(people: None, address: str, name: str | None) -> None:
    told = Browser(name).get(address).headers
    for header, value in headers.HEADERS.items():
        assert told[header] == value
    assert "Access-Control-Allow-Origin" not in told
    assert ("no-store" in told.get("Cache-Control", "")) == (address != STATIC)
    policy = dict(part.strip().split(" ", 1) for part in told["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'self'" and policy["frame-ancestors"] == policy["object-src"] == "'none'"
    assert re.fullmatch(r"'self'( 'sha256-[\w+/=]+')+", policy["script-src"])


@pytest.mark.parametrize(("production", "ancestors"), [(True, "'none'"), (False, NOTEBOOKS)])
def test_only_in_development_may_a_notebook_frame_an_app_of_its_kernel(
    production: bool, ancestors: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(headers, "in_kernel", lambda: True)
    app = Dash("framed")
    app.layout = html.Div()
    secrets: dict[str, Any] = {
        "secret_key": "k3yTh4tNobodyGuesses-0123456789abcdefg",
        "database_url": "postgresql://localhost/app",
    }
    headers.harden(app.server, app, Settings(app_env="production" if production else "development", **secrets))
    told = app.server.test_client().get("/").headers
    assert told["Content-Security-Policy"].endswith(f"frame-ancestors {ancestors}")
    assert ("X-Frame-Options" in told) == production


def test_the_policy_allows_a_pages_inline_scripts_by_hash() -> None:
    assert headers.hashes("<script src=x></script><script type='application/json'>1</script>") == []
    assert headers.hashes("<p>x</p><script type='application/javascript'>1</script>") == [
        "'sha256-a4ayc/80/OGda4BO/1o/V0etpOqiLx1JwB5S3beHW0s='"
    ]


def test_without_the_database_requests_are_refused_in_words(people: None, monkeypatch: pytest.MonkeyPatch) -> None:
    ann = Browser("ann")

    def down(token: str) -> None:
        raise DatabaseUnavailable("no route")

    monkeypatch.setattr(accounts.sessions, "user", down)
    page = ann.get("/hello")
    assert page.status_code == 503 and page.text.startswith("The database does not answer.")
    page = ann.client.get("/hello", headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"})  # as browsers ask
    assert page.status_code == 503 and "The database does not answer</h1>" in page.text and "Try again" in page.text
    told = json.loads(ann.start("hello", 1, "Ann").text)
    assert told["response"] == {} and "The database does not answer" in str(told["sideUpdate"]["notices"])


def test_without_accounts_there_are_no_sessions_and_no_log_in_page(queue: DurableHuey) -> None:
    web.server.config.update(ACCOUNTS=False, SECRET_KEY=None)
    browser = web.server.test_client()
    assert browser.get("/hello").status_code == 200
    assert browser.get("/login").status_code == browser.get("/account").status_code == 404
    assert browser.post("/logout").status_code == 404
    assert browser.get_cookie("session") is None


def test_the_log_in_page_needs_no_script_and_no_other_host() -> None:
    text = Path(forms.__file__).read_text(encoding="utf-8") + PAGE
    assert "<script" not in text and "http" not in text.replace("http-equiv", "")
