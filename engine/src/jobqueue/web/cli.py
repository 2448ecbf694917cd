"""`web`: open the port, import the app, and serve it in one process or in several."""

import errno
import importlib
import os
import socket
import sys
from typing import Any, NoReturn

import click

from jobqueue import logs
from jobqueue.monitoring.workers import code_version
from jobqueue.settings import BAD_PORT, Settings
from jobqueue.web import processes, server

BACKLOG = 1024  # connections that the system accepts before the server does
MODULE = "app.web:server"  # where the template has its server


def web_command(settings: Settings, module: str = MODULE) -> click.Command:
    """Return the command `web` of an app: `main.add_command(web_command(settings))`.

    :param module: the module and the name of the Flask server in it. Only this command imports it.
    """

    @click.command()
    def web() -> None:
        """Serve the app until stopped. SIGTERM finishes the requests first, Ctrl-C ends at once."""
        run(module, settings)

    return web


def run(module: str, settings: Settings) -> None:
    """Serve the WSGI app of this name, such as "app.web:server", until SIGTERM. Exit with 2 if the port cannot be used."""
    logs.configure(settings.json_logs, code_version())
    listening = _listen(settings)

    def serve(parent: int | None = None) -> None:
        server.serve(import_server(module), listening, linger_s=settings.linger, parent=parent)

    if settings.web_concurrency == 1:
        serve()
    else:
        raise SystemExit(processes.run(settings.web_concurrency, serve))


def _listen(settings: Settings) -> socket.socket:
    if settings.production and "port" not in settings.model_fields_set:
        _refuse("PORT is not set. Set it to the port that the host's router sends requests to.")
    address = settings.address
    host, port = address.rpartition(":")[0].strip("[]"), settings.port
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        advice = "Stop the process that uses it, or set PORT to another one." if taken else "Set HOST and PORT."
        _refuse(f"PORT is {port}, and {address} cannot be used: {os.strerror(error.errno or 0)}. {advice}")


def import_server(module: str) -> Any:
    """Return the WSGI app of this name, such as "app.web:server"."""
    # Dash imports IPython if it is installed, for notebooks. A web process does not need it, and saves 10 MB.
    sys.modules.setdefault("IPython", None)  # type: ignore[arg-type]
    name, _, attribute = module.partition(":")
    return getattr(importlib.import_module(name), attribute)


def _refuse(sentence: str) -> NoReturn:
    click.echo(sentence, err=True)
    raise SystemExit(BAD_PORT)
