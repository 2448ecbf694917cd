"""The server of `make start`: `flask --app jobqueue.development --debug run` serves `app.web:server`, and reloads it at each change.

While a mistake keeps the app from loading, every page shows the traceback, and reloads itself when the mistake is fixed.
Flask's reloader is two processes: the first starts the second, again at each change, and the second serves. Flask exits if
the first cannot load the app, so the first loads nothing of it. The reloader and Dash see changes of files that they know.
Files that come or go are seen here.
"""

import contextlib
import html
import importlib
import logging
import os
import sys
import threading
import traceback
from pathlib import Path

import watchfiles
from flask import Flask, Response, jsonify, request
from werkzeug.serving import is_running_from_reloader

RELOAD = 3  # the exit code after which Flask's reloader starts the second process again
ADVICE = "Fix the mistake and save the file. The app then reloads automatically."
# Reloads itself as soon as another process answers.
PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>The app cannot be loaded</title>
<body style="font-family: sans-serif; margin: 2em; background: Canvas; color: CanvasText">
<main>
<h1>The app cannot be loaded</h1>
<p>{advice}</p>
<pre style="white-space: pre-wrap; overflow-wrap: anywhere">{mistake}</pre>
</main>
<script>
setInterval(async () => {{
  if ((await fetch("")).headers.get("Process") !== "{process}") location.reload()
}}, 1000)
</script>
"""


def create_app(module: str = "app.web", name: str = "server") -> Flask:
    """Return the Flask server of this name in this module, or one that shows why the module cannot be imported."""
    if not is_running_from_reloader():
        return Flask(__name__)
    folder = module.partition(".")[0]
    threading.Thread(target=reload_at_new_files, args=(folder,), daemon=True).start()
    try:
        server: Flask = getattr(importlib.import_module(module), name)
    except Exception:
        return error_page(traceback.format_exc())
    return server


def reload_at_new_files(folder: str) -> None:
    """Start the process again when a module or a folder of them is added, renamed or deleted. Add new assets to the app's pages."""
    root = Path(folder).absolute()
    for changes in watchfiles.watch(root):
        for change, path in changes:
            if change is watchfiles.Change.modified:
                continue
            if Path(path).is_relative_to(root / "assets"):
                if change is watchfiles.Change.added:
                    add_asset(path)
            elif Path(path).suffix in ("", ".py"):
                print(f" * Added or removed {path!r}, reloading", file=sys.stderr)
                os._exit(RELOAD)  # sys.exit would end this thread alone


def add_asset(path: str) -> None:
    """Serve a new asset, and load it in open pages. Dash's own watcher sees it only at its first change."""
    from dash import get_app  # the first process does not load Dash
    from dash.exceptions import AppNotFoundError

    with contextlib.suppress(AppNotFoundError, FileNotFoundError):
        get_app()._on_assets_change(path, Path(path).stat().st_mtime, False)


def error_page(mistake: str) -> Flask:
    """Return a server that shows the mistake at every address. Print it once in the terminal."""
    print(f"{mistake}The app cannot be loaded. {ADVICE}", file=sys.stderr)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # as Dash does
    process = str(os.getpid())
    page = PAGE.format(advice=ADVICE, mistake=html.escape(mistake), process=process)
    server = Flask(__name__)

    @server.before_request
    def show() -> Response:
        if request.path.endswith("/_reload-hash"):  # the app's open pages ask it whether to reload
            return jsonify(reloadHash=process, hard=True, packages=[], files=[])
        return Response(page, 500, {"Process": process})

    return server
