"""nginx before an app, with the lines that the generated README gives (`with nginx.before(app.port, ...) as port`), or with others."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.baking import TEMPLATE
from tests.servers import free_port
from tests.waiting import wait_until

CONFIGURATION = """
daemon off;
{user}
pid {folder}/pid;
error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        root {folder}/nothing;
{lines}
    }}
}}
"""


def find() -> str:
    """Return nginx's path. Raises FileNotFoundError, which says how to get it."""
    found = os.environ.get("NGINX") or shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if not found:
        raise FileNotFoundError(
            "These tests need nginx and there is none: install your system's (apt-get install nginx-light, "
            "or brew install nginx), or set NGINX=/path/to/it."
        )
    return found


def documented(strips: bool) -> str:
    """Return the lines of the generated README, for a proxy that passes the whole path on or one that strips the prefix."""
    passes_on, of_stripping = re.findall(r"```nginx\n(.*?)```", Path(TEMPLATE, "README.md").read_text(), re.DOTALL)
    if not strips:
        return passes_on
    lines, replaced = re.subn(r"^ *proxy_pass .*\n", of_stripping, passes_on, flags=re.MULTILINE)
    assert replaced == 1
    return lines


@contextmanager
def before(port: int, folder: Path, strips: bool) -> Iterator[int]:
    """Run nginx with the documented lines, for an app on this port. Yield the port that nginx listens on."""
    lines, replaced = re.subn(r"127\.0\.0\.1:8050", f"127.0.0.1:{port}", documented(strips))
    assert replaced == 1
    folder.mkdir()
    with running(folder, lines) as listens_on:
        yield listens_on


@contextmanager
def running(folder: Path, lines: str) -> Iterator[int]:
    """Run nginx with these lines of a `server`. Yield the port that it listens on. Its files are in the folder."""
    listens_on = free_port()
    configuration = folder / "nginx.conf"
    user = "user root;" if os.geteuid() == 0 else ""  # the folder is a test's own, which no other user may read
    configuration.write_text(CONFIGURATION.format(user=user, folder=folder, port=listens_on, lines=lines))
    with (folder / "output").open("w") as output:
        server = subprocess.Popen([find(), "-p", folder, "-c", configuration], stdout=output, stderr=output)
    try:
        wait_until(lambda: (folder / "pid").exists() or server.poll() is not None)
        assert server.poll() is None, (folder / "output").read_text()
        yield listens_on
    finally:
        server.terminate()
        server.wait(10)
