"""The log-in and account pages: plain HTML that looks like the app and needs no script.

They are no Dash pages, because Dash serves nothing before the log-in. All of them stand side by side under the app's URL prefix,
so their links are relative.
"""

from flask import current_app

from jobqueue.accounts.passwords import SHORTEST

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="_favicon.ico">
<title>{{ heading }} · {{ app }}</title>
<style>
:root { --body: #fff; --text: #000; --dimmed: #6a7178; --border: #ced4da; --field: #fff; --blue: #1971c2; --red: #c92a2a;
  --reddish: #fff5f5; --code: #f1f3f5 }
@media (prefers-color-scheme: dark) {
  :root { --body: #242424; --text: #c9c9c9; --dimmed: #9a9a9a; --border: #424242; --field: #2e2e2e; --blue: #1971c2;
    --red: #ff8787; --reddish: #3b2626; --code: #3b3b3b }
}
* { box-sizing: border-box }
body { margin: 0; background: var(--body); color: var(--text); line-height: 1.55; font-size: 16px;
  font-family: -apple-system, BlinkMacSystemFont, "Segoe UI", Roboto, Helvetica, Arial, sans-serif }
header { height: 56px; padding: 0 16px; border-bottom: 1px solid var(--border); display: flex; align-items: center;
  gap: 16px; font-weight: 700; font-size: 18px }
header span { flex: 1; overflow: hidden; text-overflow: ellipsis; white-space: nowrap }
a { color: inherit }
header a { font-weight: 400; font-size: 14px }
main { max-width: 400px; margin: 48px auto; padding: 0 16px }
h1 { font-size: 26px; line-height: 1.35; margin: 0 0 16px }
label { display: block; font-size: 14px; font-weight: 500; margin-top: 16px }
input { width: 100%; height: 40px; margin-top: 4px; padding: 0 12px; border: 1px solid var(--border); border-radius: 4px;
  background: var(--field); color: inherit; font: inherit }
input:focus { outline: 2px solid var(--blue); outline-offset: -1px }
button { width: 100%; height: 40px; margin-top: 24px; border: 0; border-radius: 4px; background: var(--blue); color: #fff;
  font: inherit; font-size: 14px; font-weight: 600; cursor: pointer }
button.plain { background: none; color: inherit; border: 1px solid var(--border) }
button:focus-visible { outline: 2px solid var(--blue); outline-offset: 2px }
p { margin: 0 0 8px }
.dimmed { color: var(--dimmed); font-size: 14px; margin-top: 4px }
.error { background: var(--reddish); color: var(--red); border-radius: 4px; padding: 8px 12px; overflow-wrap: anywhere }
code { display: block; background: var(--code); border-radius: 4px; padding: 8px 12px; font-size: 14px; overflow-wrap: anywhere }
</style>
</head>
<body>
<header><span>{{ app }}</span>{% if home %}<a href="./">Back to the app</a>{% endif %}</header>
<main>
<h1>{{ heading }}</h1>
{% if error %}<p class="error" role="alert">{{ error }}</p>{% endif %}
CONTENT
</main>
</body>
</html>
"""

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
    shown = {"token": token, "name": name, "must_change": must_change, "done": done, "home": not must_change}
    return _page(ACCOUNT, title, "Your account", error, **shown)


def _page(content: str, title: str, heading: str, error: str, **shown: object) -> str:
    # Not Flask's render_template_string: Flask-Login would add the user, and ask the database.
    template = current_app.jinja_env.from_string(PAGE.replace("CONTENT", content))
    return template.render(app=title, heading=heading, error=error, shortest=SHORTEST, **shown)
