"""Accounts under a URL prefix: whichever part of it a proxy strips, each address that a browser gets has all of it."""

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

import dash
import pytest
from browser import HERE, PASSWORD
from dash import Dash, html
from flask import Flask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from app import web
from app.access import accounts
from app.access import jobs as access
from jobqueue import DatabaseUnavailable
from jobqueue.dash import Errors

# By name: the arguments of Dash, the prefix that the server sees, and the one that browsers see.
WAYS: dict[str, tuple[dict[str, Any], str, str]] = {
    "none": ({}, "/", "/"),
    "served": ({"url_base_pathname": "/explorer/"}, "/explorer/", "/explorer/"),
    "stripped": ({"requests_pathname_prefix": "/tools/app/"}, "/", "/tools/app/"),
    "stripped in part": (
        {"routes_pathname_prefix": "/b/", "requests_pathname_prefix": "/a/b/"},
        "/b/",
        "/a/b/",
    ),
}


@dataclass
class Site:
    """An app with accounts. `get` and `send` take a path within the app."""

    app: Dash
    received: str  # prefix of the requests that the server gets
    seen: str  # prefix of the addresses that browsers see

    def __post_init__(self) -> None:
        self.client = self.app.server.test_client()

    def get(self, path: str) -> TestResponse:
        return self.client.get(self.received + path.removeprefix("/"))

    def send(self, path: str, **fields: str) -> TestResponse:
        page = self.get("/login" if path == "/login" else "/account").text
        fields["token"] = re.findall(r'name="token" value="([^"]+)"', page)[0]
        return self.client.post(self.received + path.removeprefix("/"), data=fields, headers=HERE)

    def log_in(self, **fields: str) -> TestResponse:
        return self.send("/login", name="ann", password=PASSWORD, **fields)


@pytest.fixture(params=WAYS)
def site(people: None, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Site:
    """Return an app that has one of the prefixes. Dash's globals are restored afterwards."""
    for module, name in (dash._get_paths, "CONFIG"), (dash._pages, "CONFIG"), (dash._get_app, "APP"):
        monkeypatch.setattr(module, name, getattr(module, name))
    web.server.test_client().get("/login")  # at its first request, an app takes all callbacks that there are
    arguments, received, seen = WAYS[request.param]
    server = Flask("prefix")
    app = Dash("prefix", server=server, health_endpoint="health", **arguments)  # type: ignore[arg-type]
    app.layout = html.Div()
    accounts.protect(server, app)
    server.config.update(ACCOUNTS=True, SECRET_KEY="of these tests")
    Errors(access).install(app)
    accounts.harden(server, app)
    return Site(app, received, seen)


def test_a_request_without_a_log_in_leads_to_the_log_in_and_back(site: Site) -> None:
    for path in ("/", "/hello", "/hello?job=7&beside=%2F8", "/no/such/page"):
        location = site.get(path).location
        assert urlsplit(location).path == f"{site.seen}login"
        (wanted,) = parse_qs(urlsplit(location).query).get("next", ["/"])
        assert site.log_in(next=wanted).location == site.seen + wanted.removeprefix("/")
        assert site.get("/login").location == site.seen
        assert site.send("/logout").location == f"{site.seen}login"


def test_the_root_may_be_asked_for_without_its_last_slash(site: Site) -> None:
    assert site.client.get(site.received.rstrip("/") or "/").location == f"{site.seen}login"


@pytest.mark.parametrize("site", ["served", "stripped in part"], indirect=True)
def test_an_address_outside_of_the_prefix_is_a_404_and_no_reason_to_log_in(site: Site) -> None:
    answer = site.client.get("/no/such/page")
    assert answer.status_code == 404 and f'<a href="{site.seen}">the first page</a>' in answer.text


def test_dashs_own_requests_are_refused_and_files_and_health_are_served(site: Site) -> None:
    for path in ("/_dash-layout", "/_dash-dependencies", "/_reload-hash"):
        assert site.get(path).status_code == 401
    assert site.get("/health").text == "OK"
    assert site.get("/_favicon.ico").status_code == 200
    assert site.get("/assets/none.css").status_code == 404
    script = re.findall(r'src="([^"]+/dash_renderer[^"]+)"', site.app.index())[0]
    assert script.startswith(site.seen)
    answer = site.get(script.removeprefix(site.seen))
    assert answer.status_code == 200 and "no-store" not in answer.headers["Cache-Control"]


def test_forms_and_links_of_the_log_in_and_the_account_page_stay_under_the_prefix(site: Site) -> None:
    pages = {"login": site.get("/login").text}
    site.log_in()
    pages["account"] = site.get("/account").text
    targets = {"login": {"login", "_favicon.ico"}, "account": {"account", "logout", "", "_favicon.ico"}}
    for name, page in pages.items():
        found = re.findall(r'(?:action|href)="([^"]*)"', page)
        assert {urljoin(site.seen + name, target) for target in found} == {
            site.seen + target for target in targets[name]
        }


def test_a_user_who_must_set_a_password_is_redirected_to_the_account(site: Site) -> None:
    first = accounts.users.set_password("ann", None)
    assert site.send("/login", name="ann", password=first).location == f"{site.seen}account"
    assert site.get("/hello").location == f"{site.seen}account"
    assert site.get("/_dash-layout").status_code == 403


SEGMENTS = st.lists(
    st.sampled_from(["..", "%2e%2E", ".%2e", ".", "", "a", "\\", "//b", "?c", "\n", "http:"]), max_size=5
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None)
@given(start=st.sampled_from(["", "/", "//", "https://evil.example/"]), segments=SEGMENTS)
def test_the_log_in_redirects_to_no_address_outside(site: Site, start: str, segments: list[str]) -> None:
    if site.get("/account").status_code == 302:
        site.log_in()
    location = site.client.get(f"{site.received}login", query_string={"next": start + "/".join(segments)}).location
    assert location.startswith(site.seen)
    path = re.sub("%2e", ".", urlsplit(location).path, flags=re.IGNORECASE)
    assert urlsplit(urljoin("http://localhost", path)).path.startswith(site.seen.rstrip("/"))
    assert not location.startswith("//")


def test_each_prefix_has_a_cookie_of_its_own(site: Site) -> None:
    cookie = site.get("/login").headers["Set-Cookie"]
    names = {
        "/": "session",
        "/explorer/": "session-explorer",
        "/tools/app/": "session-tools%2Fapp",
        "/a/b/": "session-a%2Fb",
    }
    assert cookie.startswith(f"{names[site.seen]}=") and "; Path=/;" in cookie


def test_a_prefix_that_is_set_late_is_followed(site: Site) -> None:
    """A notebook learns its proxy's address when the app exists already."""
    dict.__setitem__(site.app.config, "requests_pathname_prefix", f"/user/ann/proxy/8050{site.received}")
    assert site.get("/hello").location == f"/user/ann/proxy/8050{site.received}login?next=/hello"


def test_a_failing_database_is_answered_in_words(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def down(token: str) -> None:
        raise DatabaseUnavailable("no route")

    site.log_in()
    monkeypatch.setattr(accounts.sessions, "user", down)
    body = {"output": "x.children", "outputs": {"id": "x", "property": "children"}, "inputs": [], "changedPropIds": []}
    answer = site.client.post(f"{site.received}_dash-update-component", json=body, headers=HERE)
    assert answer.status_code == 200 and "The database does not answer" in str(answer.get_json()["sideUpdate"])
