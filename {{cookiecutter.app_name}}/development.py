"""What `make start` serves: the app, or the mistake that keeps it from being loaded, until that is mended.

Flask's reloader is two processes: the first starts the second, again at each change, and the second serves. Flask gives up
where the first cannot load the app, so the first loads nothing of it.
"""

import html
import logging
import os
import sys
import traceback

from flask import Flask, Response, jsonify, request
from werkzeug.serving import is_running_from_reloader

ADVICE = "Mend the mistake and save the file: the app comes back by itself."
# Loads itself anew as soon as another process answers.
PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
<title>The app cannot be loaded</title>
<body style="font-family: sans-serif; margin: 2em">
<h1>The app cannot be loaded</h1>
<p>{advice}</p>
<pre style="white-space: pre-wrap; overflow-wrap: anywhere">{mistake}</pre>
<script>
setInterval(async () => {{
  if ((await fetch("")).headers.get("Process") !== "{process}") location.reload()
}}, 1000)
</script>
"""


def create_app() -> Flask:
    """What `flask --app development` serves."""
    if not is_running_from_reloader():
        return Flask(__name__)
    try:
        from app.web import server
    except Exception:
        return in_place_of_the_app(traceback.format_exc())
    return server


def in_place_of_the_app(mistake: str) -> Flask:
    """Shows the mistake at every address; in the terminal once, however often open pages ask."""
    print(f"{mistake}The app cannot be loaded. {ADVICE}", file=sys.stderr)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # as Dash does
    process = str(os.getpid())
    page = PAGE.format(advice=ADVICE, mistake=html.escape(mistake), process=process)
    server = Flask(__name__)

    @server.before_request
    def show() -> Response:
        if request.path == "/_reload-hash":  # the app's open pages ask whether to load themselves anew
            return jsonify(reloadHash=process, hard=True, packages=[], files=[])
        return Response(page, 500, {"Process": process})

    return server
