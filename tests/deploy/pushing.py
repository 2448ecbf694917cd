"""An app in a clone of its owner, and the host that it is pushed to, with nginx before it."""

import json
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests import nginx
from tests.baking import with_programs
from tests.deploy.host import Host
from tests.servers import HOST
from tests.waiting import wait_until

LINES = """
        location / {{
            include {folder}/upstream;
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto https;
        }}
"""


class Pushed:
    """The clone, the host, and the port of nginx."""

    def __init__(self, clone: Path, host: Host, port: int) -> None:
        self.clone, self.host, self.port = clone, host, port

    def push(self) -> subprocess.CompletedProcess[str]:
        """Commit what has changed, and push it. The result has what git printed."""
        self.save()
        return subprocess.run(
            ["git", "push", "host", "main"],
            cwd=self.clone, env=with_programs(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def save(self) -> None:
        """Commit what has changed, or an empty change."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", "A change")

    def commit(self) -> str:
        return self.git("rev-parse", "HEAD").strip()

    def served(self) -> str:
        """Return the commit of the release that nginx sends requests to, or "" from one that is stopping or gone."""
        with suppress(urllib.error.HTTPError), urllib.request.urlopen(f"http://{HOST}:{self.port}/readyz") as answer:
            return str(json.load(answer)["release"])
        return ""

    def kill_at_the_switch(self, yes: bool) -> None:
        """Let the next pushes kill the old release, or end it as hosts do."""
        flag = self.host.folder / "kill at the switch"
        flag.touch() if yes else flag.unlink(missing_ok=True)

    def git(self, *arguments: str) -> str:
        return subprocess.check_output(["git", *arguments], cwd=self.clone, text=True)


@contextmanager
def hosted(source: Path, folder: Path, environments: Path, settings: dict[str, str]) -> Iterator[Pushed]:
    """Run a host with nginx before it, and a clone of the app that can be pushed to it."""
    host = Host(folder / "host")
    host.folder.mkdir()
    host.folder.joinpath("environments").symlink_to(environments)
    host.create(settings)
    clone = shutil.copytree(source, folder / "clone")
    with nginx.running(host.folder / "nginx", LINES.format(folder=host.folder / "nginx")) as port:
        pushed = Pushed(clone, host, port)
        pushed.git("init", "--quiet", "--initial-branch", "main")
        pushed.git("config", "user.name", "Ann")
        pushed.git("config", "user.email", "ann@example.com")
        pushed.git("remote", "add", "host", str(host.repository))
        try:
            yield pushed
        finally:
            host.stop()


def assert_accepted(pushed: Pushed) -> None:
    push = pushed.push()
    assert push.returncode == 0, push.stdout
    wait_until(lambda: pushed.served() == pushed.commit())  # nginx starts other processes for it
