"""The log-in and account pages, in plain HTML, because Dash serves nothing before the log-in.

All of them stand side by side under the app's URL prefix, so their links are relative.
"""

from typing import Any

from jobqueue.accounts.passwords import SHORTEST
from jobqueue.plain_page import plain_page

NO_ACCOUNTS = """
<p>There are no accounts yet. To create the first one, an administrator runs this command where the app runs:</p>
<code>{{ command }} users add NAME --admin</code>
<p class="dimmed">Then reload this page.</p>
"""

LOGIN = """
<form method="post" action="login">
<input type="hidden" name="token" value="{{ token }}">
<input type="hidden" name="next" value="{{ wanted }}">
<label>Name<input name="name" value="{{ name }}" autocomplete="username" autocapitalize="none" spellcheck="false" required
  {%- if not name %} autofocus{% endif %}></label>
<label>Password<input name="password" type="password" autocomplete="current-password" required
  {%- if name %} autofocus{% endif %}></label>
<button>Log in</button>
</form>
"""

ACCOUNT = """
{% if done %}<p role="status">Your password has been changed. You have been logged out everywhere else.</p>{% else %}
{% if must_change %}<p>Please choose a password of your own to continue.</p>
{% else %}<p>You are logged in as {{ name }}.</p>{% endif %}
<form method="post" action="account">
<input type="hidden" name="token" value="{{ token }}">
<input type="hidden" name="username" value="{{ name }}" autocomplete="username">
<label>Current password<input name="current" type="password" autocomplete="current-password" required></label>
<label>New password<input name="new" type="password" autocomplete="new-password" minlength="{{ shortest }}" required></label>
<p class="dimmed">At least {{ shortest }} characters. Several words that do not belong together are easy to remember.</p>
<button>Change password</button>
</form>
{% endif %}
<form method="post" action="logout">
<input type="hidden" name="token" value="{{ token }}">
<button class="plain">Log out</button>
</form>
"""


def login(
    title: str, token: str, wanted: str = "/", name: str = "", error: str = "", command: str | None = None
) -> str:
    """Return the log-in page.

    :param title: the app's title.
    :param token: the form's token.
    :param wanted: the path within the app to go to after the log-in.
    :param command: the app's command, if there are no accounts yet: the page then says how to create one.
    """
    content = NO_ACCOUNTS if command else LOGIN
    return _page(content, title, "Log in", error, token=token, wanted=wanted, name=name, command=command)


def account(title: str, token: str, name: str, error: str = "", must_change: bool = False, done: bool = False) -> str:
    """Return the page to change the password and to log out."""
    shown: dict[str, Any] = {
        "token": token,
        "name": name,
        "must_change": must_change,
        "done": done,
        "home": not must_change,
    }
    return _page(ACCOUNT, title, "Your account", error, **shown)


def _page(content: str, title: str, heading: str, error: str, **shown: Any) -> str:
    error_above = '{% if error %}<p class="error" role="alert">{{ error }}</p>{% endif %}'
    return plain_page(heading, error_above + content, title, error=error, shortest=SHORTEST, **shown)
