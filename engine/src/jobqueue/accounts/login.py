"""The rule that every request passes, and the views to log in, change the password and log out.

Without a log-in every request is refused, but for the log-in page, static files and the health check. A request that
changes something must come from a page of this app. Which jobs a user may see is decided in jobqueue/dash/access.py.
"""

import functools
import logging
import math
import secrets
import sys
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlencode, urlsplit

from flask import (
    Flask,
    Request,
    abort,
    after_this_request,
    current_app,
    g,
    has_request_context,
    redirect,
    request,
    session,
)
from flask_login import LoginManager, UserMixin, current_user, login_user
from werkzeug.exceptions import NotFound
from werkzeug.wrappers import Response

from jobqueue.accounts import addresses, forms, headers, throttle
from jobqueue.accounts.addresses import ASSETS
from jobqueue.accounts.devices import PURPOSE, Device, Devices
from jobqueue.accounts.passwords import WeakPassword
from jobqueue.accounts.sessions import Sessions
from jobqueue.accounts.throttle import TooManyFailures
from jobqueue.accounts.users import User, Users
from jobqueue.execution.current_job import CurrentJob, SubmitRefused, working_for
from jobqueue.huey import DurableHuey
from jobqueue.reports.page import PRINTED_FOR
from jobqueue.settings import Settings

if TYPE_CHECKING:
    from dash import Dash  # which the commands of accounts do not load

# Endpoints that need no log-in.
OPEN = {
    "login",
    "static",
    ASSETS,
    "_dash-component-suites/<string:package_name>/<path:fingerprinted_path>",
    "_favicon.ico",
    "health",
}
PAGES = {"first_page", "account", "", "<path:path>"}  # endpoints from which a browser is redirected to the log-in
READS = {"GET", "HEAD", "OPTIONS"}
MINUTE = 60  # seconds

acts = logging.getLogger("jobqueue.acts")  # who did what, and when


class TooManyJobs(SubmitRefused):
    """The user has reached the limit of jobs per minute."""


class Visitor(UserMixin):
    """The user who is logged in, as Flask-Login wants it. Its id is the session's token."""

    def __init__(self, user: User, token: str) -> None:
        self.name = user.name
        self.admin = user.admin
        self.must_change = user.must_change
        self.token = token

    def get_id(self) -> str:
        return self.token


def visitor() -> Visitor | None:
    """Return the user of the request, with `name` and `admin`, or None outside of requests and where accounts are off.

    Where accounts are on, a request without a log-in is answered with 401: None would grant access to everything.
    """
    if not has_request_context() or not current_app.config["ACCOUNTS"]:
        return None
    return logged_in() or abort(401)


def logged_in() -> Visitor | None:
    """Return the user of the request, or None if nobody is logged in."""
    known = has_request_context() and current_app.config["ACCOUNTS"] and current_user.is_authenticated
    return current_user if known else None


def form_view(view: "Callable[[Accounts], Any]") -> "Callable[[Accounts], Any]":
    """Make a view answer 404 where accounts are off, and refuse a form without the token of its session."""

    @functools.wraps(view)
    def checked(accounts: "Accounts") -> Any:
        if not current_app.config["ACCOUNTS"]:
            abort(404)
        kept = session.setdefault("form", secrets.token_urlsafe())
        given = request.form.get("token", "")
        if request.method not in READS and not secrets.compare_digest(kept.encode(), given.encode(errors="replace")):
            return forms.login(accounts.title, kept, error="This form has expired. Try again."), 400
        return view(accounts)

    return checked


class Accounts:
    """The accounts of one app: `accounts = Accounts(huey, settings, title="My app")`, then `accounts.protect(server, app)`.

    :param title: the app's title, on the log-in page.
    :param command: the app's command, on the log-in page as long as there are no accounts.
    """

    visitor = staticmethod(visitor)
    logged_in = staticmethod(logged_in)

    def __init__(
        self, huey: DurableHuey, settings: Settings, *, title: str = "", command: str = "python -m app"
    ) -> None:
        self.huey = huey
        self.settings = settings
        self.title = title
        self.command = command
        self.database = lambda: huey.ledger.database  # immediate mode swaps it
        self.users = Users(huey, title)
        self.sessions = Sessions(self.database)
        self.devices = Devices(lambda: huey.serializer.derived(PURPOSE))

    def protect(self, server: Flask, app: "Dash") -> None:
        """Put the rule in front of a server and its Dash app. `server.config["ACCOUNTS"]` turns it on.

        The log-in page and the account page stand under the app's URL prefix.
        """
        addresses.serve(server, app)
        # A name of its own for each prefix: another app of this host would replace the cookie. Path=/ is what __Host- requires.
        cookie = "-".join(filter(None, ["session", quote(app.config.requests_pathname_prefix.strip("/"), safe="")]))
        server.config.update(
            ACCOUNTS=self.settings.accounts,
            SESSION_COOKIE_NAME=f"__Host-{cookie}" if self.settings.production else cookie,
            SESSION_COOKIE_SECURE=self.settings.production,
            SESSION_COOKIE_HTTPONLY=True,
            SESSION_COOKIE_SAMESITE="Lax",
            REMEMBER_COOKIE_NAME=secrets.token_hex(),  # a name that no cookie has: none may outlive its session
        )
        server.config["DEVICE_COOKIE_NAME"] = f"{server.config['SESSION_COOKIE_NAME']}-device"
        headers.trust_proxies(server, self.settings)  # whatever the mode: the rule needs the client's address
        if self.settings.accounts:
            key, *fallbacks = self.huey.serializer.derived("sessions")
            server.config.update(SECRET_KEY=key, SECRET_KEY_FALLBACKS=fallbacks)
            log_acts()
        manager = LoginManager(server)
        manager.session_protection = None  # sessions are in the database, and a browser's address may change
        manager.user_loader(self._find)
        manager.request_loader(self._printed_for)
        server.before_request(self._rule)
        server.teardown_request(_end_submits)
        root = app.config.routes_pathname_prefix
        server.add_url_rule(f"{root}login", "login", self._log_in, methods=["GET", "POST"])
        server.add_url_rule(f"{root}account", "account", self._account, methods=["GET", "POST"])
        server.add_url_rule(f"{root}logout", "logout", self._log_out, methods=["POST"])

    def harden(self, server: Flask, app: "Dash") -> None:
        """Add security headers to every response of a protected server, and trust the proxies that the settings name."""
        headers.harden(server, app, self.settings)

    # --- the rule ---

    def _rule(self) -> Response | None:
        """Return the response that refuses the request, or None to let it pass."""
        if not current_app.config["ACCOUNTS"]:
            return None
        if request.method not in READS and not _is_same_origin():
            abort(403, "This request did not come from a page of this app.")
        endpoint = addresses.endpoint()
        if endpoint in OPEN or isinstance(request.routing_exception, NotFound):  # which Flask raises next
            return None
        user = logged_in()
        if user is None:
            return _redirect_to_login()
        if user.must_change and endpoint not in ("account", "logout"):
            return _redirect("/account") if endpoint in PAGES else abort(403, "Set a password first.")
        g.submits = ExitStack()
        g.submits.enter_context(working_for(UserRequest(self, user.name)))
        return None

    def _find(self, token: Any) -> Visitor | None:
        user = self.sessions.user(token) if isinstance(token, str) else None
        return None if user is None else Visitor(user, token)

    def _printed_for(self, request: Request) -> Visitor | None:
        """Return the user that a worker prints this page for, or None if it is no such request. Refuse an unknown user."""
        if PRINTED_FOR not in request.environ:
            return None
        name = request.environ[PRINTED_FOR]
        user = User("", admin=True) if name is None else self.users.get(name)
        return abort(401, "This user has no account.") if user is None else Visitor(User(user.name, user.admin), "")

    # --- the views ---

    @form_view
    def _log_in(self) -> Any:
        wanted = _local(request.values.get("next", ""))
        if request.method in READS:
            if logged_in() is not None:
                return _redirect(wanted)
            command = None if self.users.any() else self.command
            return forms.login(self.title, session["form"], wanted, command=command)
        name, password = request.form.get("name", ""), request.form.get("password", "")
        show = functools.partial(forms.login, self.title, session["form"], wanted, name)
        try:
            user = self.users.authenticate(name, password, request.remote_addr or "", self.devices.read())
        except TooManyFailures as error:
            acts.warning("Log-in as %r from %s refused after too many failures", name[:64], request.remote_addr)
            return show(error=str(error)), 429, {"Retry-After": str(math.ceil(error.seconds))}
        if user is None:
            acts.warning("Log-in as %r from %s failed", name[:64], request.remote_addr)
            return show(error="Wrong name or password."), 401
        self._begin_session(user.name)
        acts.info("%s logs in from %s", user.name, request.remote_addr)
        return _redirect("/account" if user.must_change else wanted)

    @form_view
    def _account(self) -> Any:
        user = visitor()
        assert user is not None  # form_view answers 404 where accounts are off
        show = functools.partial(forms.account, self.title, session["form"], user.name, must_change=user.must_change)
        if request.method in READS:
            return show()
        current, new = request.form.get("current", ""), request.form.get("new", "")
        here = Device(user.name, user.token)  # nobody else's failures keep users from their own account
        try:
            if self.users.authenticate(user.name, current, request.remote_addr or "", here) is None:
                return show(error="The current password is wrong."), 401
            if secrets.compare_digest(current.encode(), new.encode()):
                return show(error="The new password is the same as the current one. Choose another."), 400
            self.users.set_password(user.name, new)
        except WeakPassword as error:
            return show(error=str(error)), 400
        except TooManyFailures as error:
            return show(error=str(error)), 429, {"Retry-After": str(math.ceil(error.seconds))}
        self._begin_session(user.name)
        acts.info("%s changes the password", user.name)
        token = session.setdefault("form", secrets.token_urlsafe())
        return forms.account(self.title, token, user.name, done=True)

    @form_view
    def _log_out(self) -> Any:
        user = visitor()
        assert user is not None  # form_view answers 404 where accounts are off
        self.sessions.end(user.token)
        session.clear()
        acts.info("%s logs out", user.name)
        return _redirect("/login")

    def _begin_session(self, name: str) -> None:
        """End the browser's session, if there is one, and begin another."""
        if isinstance(before := session.get("_user_id"), str):
            self.sessions.end(before)
        session.clear()
        user = self._find(self.sessions.begin(name))
        assert user is not None
        login_user(user)
        after_this_request(functools.partial(self.devices.remember, name))


class UserRequest(CurrentJob):
    """The context of a user's request: jobs that are submitted in it belong to the user, up to the limit per minute."""

    def __init__(self, accounts: Accounts, owner: str) -> None:
        super().__init__()
        self.accounts = accounts
        self.owner: str = owner

    def submitting(self, jobs: int) -> None:
        """Raises TooManyJobs."""
        most = self.accounts.settings.submits
        if throttle.submitted(self.accounts.database, self.owner, MINUTE, most) >= most:
            raise TooManyJobs(f"You can submit at most {most} jobs per minute. Try again in a moment.")
        acts.info("%s submits %d job(s)", self.owner, jobs)


def _end_submits(_: BaseException | None) -> None:
    if "submits" in g:
        g.submits.close()


def _is_same_origin() -> bool:
    """Return whether the browser says that a page of this app sent the request. A client that says nothing is refused."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site == "same-origin"
    return request.headers.get("Origin") == f"{request.scheme}://{request.host}"


def _redirect_to_login() -> Response:
    if request.method in READS and addresses.endpoint() in PAGES and "Authorization" not in request.headers:
        wanted = addresses.path()
        return _redirect("/login" if wanted == "/" else f"/login?{urlencode({'next': wanted}, safe='/')}")
    abort(401, "Log in first.")


def _redirect(path: str) -> Response:
    """Redirect to a path within the app."""
    return redirect(addresses.address(path))


def _local(path: str) -> str:
    """Return the path if it stays within this app, else `/`: the log-in redirects nowhere else."""
    parsed = urlsplit(path) if path.isprintable() else None
    if parsed is None or parsed.scheme or parsed.netloc or not path.startswith("/") or "\\" in path:
        return "/"
    return "/" if path.startswith("//") or ".." in unquote(parsed.path).split("/") else path


def log_acts() -> None:
    """Log who did what, and when: to standard error in a process whose logging is not configured."""
    acts.setLevel(logging.INFO)
    if not acts.hasHandlers():
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(asctime)s %(name)s: %(message)s"))
        acts.addHandler(handler)
