"""Who may ask for what, where one has to log in: one rule in front of every request, and the pages to log in and out.

Everything is refused to whoever is not logged in, but for the log-in, static files and the health check. What changes
something has to come from a page of this app. A job submitted while a user's request is answered is that user's; who may
see it is in visible.py.
"""

import functools
import logging
import math
import secrets
import sys
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

from flask import Flask, abort, current_app, g, has_request_context, redirect, request, session, url_for
from flask_login import LoginManager, UserMixin, current_user, login_user
from jobqueue import SubmitRefused
from jobqueue.execution.current_job import CurrentJob, working_for
from werkzeug.wrappers import Response

from app import account_pages as pages
from app import users
from app.jobs import huey
from app.settings import settings

# What anybody may ask for, by Flask's endpoints; those of Dash are called as their addresses.
OPEN = {
    "login",
    "static",
    "_dash_assets.static",
    "/_dash-component-suites/<string:package_name>/<path:fingerprinted_path>",
    "/_favicon.ico",
    "/health",
}
PAGES = {"first_page", "account", "/", "/<path:path>"}  # a browser that asks for one of these is sent to the log-in
READS = {"GET", "HEAD", "OPTIONS"}
MINUTE = 60  # seconds

acts = logging.getLogger("app.acts")  # who did what, and when


class TooManyJobs(SubmitRefused):
    """The user has submitted as many jobs as one may in a minute."""


class Visitor(UserMixin):
    """Whoever is logged in, as Flask-Login wants it. Its id is the session's."""

    def __init__(self, user: users.User, token: str) -> None:
        self.name = user.name
        self.admin = user.admin
        self.must_change = user.must_change
        self.token = token

    def get_id(self) -> str:
        return self.token


class Visit(CurrentJob):
    """What the code that answers a user's request works for: the jobs that it submits are the user's."""

    owner: str

    def __init__(self, owner: str) -> None:
        super().__init__()
        self.owner = owner

    def submitting(self, jobs: int) -> None:
        if users.submitted(self.owner, MINUTE, settings.submits) >= settings.submits:
            raise TooManyJobs(f"You may submit {settings.submits} jobs in a minute. Try again in a moment.")
        acts.info("%s submits %d job(s)", self.owner, jobs)


def visitor() -> Visitor | None:
    """Whoever asks, with `name` and `admin`; None where nobody has to log in, and outside of requests.

    Without a log-in where there has to be one this is a 401: None would be taken for everybody's leave.
    """
    if not has_request_context() or not current_app.config["ACCOUNTS"]:
        return None
    return logged_in() or abort(401)


def logged_in() -> Visitor | None:
    """For what is there without a log-in too."""
    held = has_request_context() and current_app.config["ACCOUNTS"] and current_user.is_authenticated
    return current_user if held else None


def protect(server: Flask) -> None:
    """Put the rule in front of a server. `server.config["ACCOUNTS"]` says whether it holds."""
    server.config.update(
        ACCOUNTS=settings.accounts,
        SESSION_COOKIE_NAME="__Host-session" if settings.production else "session",
        SESSION_COOKIE_SECURE=settings.production,
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        REMEMBER_COOKIE_NAME=secrets.token_hex(),  # Flask-Login would read a cookie that outlives sessions: none does
    )
    if settings.accounts:
        key, *fallbacks = huey.serializer.derived("sessions")
        server.config.update(SECRET_KEY=key, SECRET_KEY_FALLBACKS=fallbacks)
        _log_acts()
    manager = LoginManager(server)
    manager.session_protection = None  # a session is in the database, and a browser's address may change
    manager.user_loader(_visitor_of)
    server.before_request(rule)
    server.teardown_request(_leave)
    server.add_url_rule("/login", "login", log_in, methods=["GET", "POST"])
    server.add_url_rule("/account", "account", account, methods=["GET", "POST"])
    server.add_url_rule("/logout", "logout", log_out, methods=["POST"])


# --- the rule ---


def rule() -> Response | None:
    """What is to be answered instead; None where the request may go on."""
    if not current_app.config["ACCOUNTS"]:
        return None
    if request.method not in READS and not _from_here():
        abort(403, "This did not come from a page of this app.")
    if request.endpoint in OPEN:
        return None
    who = logged_in()
    if who is None:
        return _to_the_login()
    if who.must_change and request.endpoint not in ("account", "logout"):
        return redirect(url_for("account")) if request.endpoint in PAGES else abort(403, "Set a password first.")
    g.visit = ExitStack()
    g.visit.enter_context(working_for(Visit(who.name)))
    return None


def _from_here() -> bool:
    """Whether a page of this app sent it, as the browser says; what says nothing of it is no browser."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site == "same-origin"
    return request.headers.get("Origin") == f"{request.scheme}://{request.host}"


def _to_the_login() -> Response:
    if request.method in READS and request.endpoint in PAGES and "Authorization" not in request.headers:
        query = request.query_string.decode(errors="replace")
        wanted = request.path + (f"?{query}" if query else "")
        return redirect(url_for("login") if wanted == "/" else url_for("login", next=wanted))
    abort(401, "Log in first.")


def _leave(_: BaseException | None) -> None:
    if "visit" in g:
        g.visit.close()


def _visitor_of(token: Any) -> Visitor | None:
    user = users.of_session(token) if isinstance(token, str) else None
    return None if user is None else Visitor(user, token)


# --- logging in and out ---


def _of_forms(view: Any) -> Any:
    """A view whose forms hold a token of this session, without which they are refused. None where nobody has to log in."""

    @functools.wraps(view)
    def checked() -> Any:
        if not current_app.config["ACCOUNTS"]:
            abort(404)
        kept = session.setdefault("form", secrets.token_urlsafe())
        given = request.form.get("token", "")
        if request.method == "POST" and not secrets.compare_digest(kept.encode(), given.encode(errors="replace")):
            return pages.login(kept, error="The page had grown old. Try again."), 400
        return view()

    return checked


@_of_forms
def log_in() -> Any:
    wanted = _local(request.values.get("next", ""))
    if request.method == "GET":
        if logged_in() is not None:
            return redirect(wanted)
        return pages.login(session["form"], wanted, no_account=not users.any_user())
    name, password = request.form.get("name", ""), request.form.get("password", "")
    try:
        user = users.authenticate(name, password, request.remote_addr or "")
    except users.TooManyFailures as error:
        acts.warning("A log-in as %r from %s has to wait", name[:64], request.remote_addr)
        again = {"Retry-After": str(math.ceil(error.seconds))}
        return pages.login(session["form"], wanted, name, str(error)), 429, again
    if user is None:
        acts.warning("A log-in as %r from %s failed", name[:64], request.remote_addr)
        return pages.login(session["form"], wanted, name, "The name or the password is not right."), 401
    _enter(user.name)
    acts.info("%s logs in from %s", user.name, request.remote_addr)
    return redirect(url_for("account") if user.must_change else wanted)


def _enter(name: str) -> None:
    """A new session, whatever there was before."""
    if isinstance(before := session.get("_user_id"), str):
        users.end_session(before)
    session.clear()
    token = users.begin_session(name)
    visitor = _visitor_of(token)
    assert visitor is not None
    login_user(visitor)


@_of_forms
def account() -> Any:
    """Change one's password."""
    who = visitor()
    assert who is not None  # else there is no such page
    if request.method == "GET":
        return pages.account(session["form"], who.name, must_change=who.must_change)
    current, new = request.form.get("current", ""), request.form.get("new", "")
    show = functools.partial(pages.account, session["form"], who.name, must_change=who.must_change)
    try:
        if users.authenticate(who.name, current, request.remote_addr or "") is None:
            return show(error="The current password is not right."), 401
        if secrets.compare_digest(current.encode(), new.encode()):
            return show(error="The new password is the current one."), 400
        users.set_password(who.name, new)
    except users.WeakPassword as error:
        return show(error=str(error)), 400
    except users.TooManyFailures as error:
        return show(error=str(error)), 429
    _enter(who.name)
    acts.info("%s sets another password", who.name)
    return pages.account(session.setdefault("form", secrets.token_urlsafe()), who.name, done=True)


@_of_forms
def log_out() -> Any:
    who = visitor()
    assert who is not None  # else there is no such page
    users.end_session(who.token)
    session.clear()
    acts.info("%s logs out", who.name)
    return redirect(url_for("login"))


def _local(address: str) -> str:
    """Where to go after the log-in: an address of this app, whatever was asked for."""
    parsed = urlsplit(address) if address.isprintable() else None
    if parsed is None or parsed.scheme or parsed.netloc or not address.startswith("/") or "\\" in address:
        return "/"
    return address if not address.startswith("//") else "/"


def _log_acts() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s: %(message)s"))
    for logger in (acts, logging.getLogger("jobqueue.acts")):  # that of the queue's own pages
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
