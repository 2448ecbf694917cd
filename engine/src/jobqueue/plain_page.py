"""A page of plain HTML that looks like the app and needs no script, for answers that cannot be a page of Dash."""

from typing import Any

from flask import current_app

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="{{ root }}_favicon.ico">
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
<header><span>{{ app }}</span>{% if home %}<a href="{{ root }}">Back to the app</a>{% endif %}</header>
<main>
<h1>{{ heading }}</h1>
CONTENT
</main>
</body>
</html>
"""


def plain_page(heading: str, content: str, app: str, *, root: str = "./", home: bool = False, **shown: Any) -> str:
    """Return the HTML of a page. Call it in a request.

    :param heading: of the page, and the first part of the browser's title.
    :param content: a Jinja template, which is rendered below the heading.
    :param app: the app's title.
    :param root: the address of the app, with a slash at the end.
    :param home: add a link to the app.
    :param shown: values for `content`.
    """
    # Not Flask's render_template_string: Flask-Login would add the user, and ask the database.
    template = current_app.jinja_env.from_string(PAGE.replace("CONTENT", content))
    return template.render(heading=heading, app=app, root=root, home=home, **shown)
