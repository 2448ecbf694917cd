"""The commands `heroku` and `dokku`, as far as docs/deploy.md uses them, for the host in host.py. All others are refused.

They do to that host what their documentation says: add-ons set `DATABASE_URL`, `run` runs beside the release. Commands that
concern only the real host, such as its certificates, do nothing. `install` writes both programs into a folder.
"""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.deploy.host import Host

PROGRAM = """#!/bin/sh
exec env PYTHONPATH='{kit}' '{python}' -m tests.deploy.clients '{folder}' {client} "$@"
"""
DATABASE = "database of the add-on"  # a file of the host: the URL that its Postgres has


def install(programs: Path, host: Host, database_url: str) -> None:
    """Write both programs into a new folder, for this host. Its add-on for Postgres is this database."""
    programs.mkdir()
    host.folder.joinpath(DATABASE).write_text(database_url)
    for client in ("heroku", "dokku"):
        program = programs / client
        kit = Path(__file__).parents[2]
        program.write_text(PROGRAM.format(kit=kit, python=sys.executable, folder=host.folder, client=client))
        program.chmod(0o755)


def add_remote(host: Host) -> int:
    return subprocess.run(["git", "remote", "add", "heroku", host.repository]).returncode


def attach_database(host: Host) -> int:
    host.set(DATABASE_URL=host.folder.joinpath(DATABASE).read_text())
    return 0


def configure(host: Host, pairs: str) -> int:
    host.set(**dict(pair.split("=", 1) for pair in pairs.split()))
    return 0


def unset(host: Host, name: str) -> int:
    host.set(**{name: None})
    return 0


def run(host: Host, command: str) -> int:
    return host.run(command).returncode


def nothing(_: Host) -> int:
    return 0


# Of a whole command line. The groups are the function's other arguments.
COMMANDS: dict[str, Callable[..., int]] = {
    "heroku create desk": add_remote,
    "heroku addons:create heroku-postgresql:essential-0 --app desk --wait": attach_database,
    "heroku config:set (.+) --app desk": configure,
    "heroku config:unset (.+) --app desk": unset,
    "heroku run --app desk -- (.+)": run,
    "heroku ps:scale web=1 worker=1 --app desk": nothing,
    "heroku features:enable http-preboot --app desk": nothing,
    "heroku open --app desk": nothing,
    "dokku plugin:install https://github.com/dokku/dokku-postgres.git postgres": nothing,
    "dokku plugin:install https://github.com/dokku/dokku-letsencrypt.git": nothing,
    "dokku apps:create desk": nothing,
    "dokku postgres:create desk-db": nothing,
    "dokku postgres:link desk-db desk": attach_database,
    "dokku config:set desk (.+)": configure,
    "dokku run desk (.+)": run,
    "dokku domains:set desk desk.example.com": nothing,
    "dokku letsencrypt:set desk email ann@example.com": nothing,
    "dokku letsencrypt:enable desk": nothing,
}


def main() -> int:
    folder, *words = sys.argv[1:]
    line = " ".join(words)
    for pattern, function in COMMANDS.items():
        if found := re.fullmatch(pattern, line):
            return function(Host(Path(folder)), *found.groups())
    print(f"docs/deploy.md had no such command: {line}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
