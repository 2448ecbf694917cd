"""git push, rehearsed: pushes of a baked app under load lose nothing, and a push that cannot work is refused."""

import itertools
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from engine import wheel
from jobqueue import DurableHuey
from jobqueue.accounts.users import Users
from tests import nginx
from tests.baking import Bake
from tests.deploy.host import Host
from tests.deploy.load import Answers, Load
from tests.end_to_end.running import PASSWORD
from tests.proxy import Proxy
from tests.servers import HOST, PostgresServer, ValkeyServer
from tests.waiting import wait_until

pytestmark = [pytest.mark.long, pytest.mark.alone]

KEY = "k3yTh4tNobodyGuesses-0123456789abcdefg"
LINES = """
        location / {{
            include {folder}/upstream;
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto https;
        }}
"""


class Pushed:
    """An app in a clone of its owner, and the host that it is pushed to."""

    def __init__(self, clone: Path, host: Host, port: int) -> None:
        self.clone, self.host, self.port = clone, host, port

    def push(self) -> subprocess.CompletedProcess[str]:
        """Commit what has changed, and push it. The result has what git printed."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", "A change")
        return subprocess.run(
            ["git", "push", "host", "main"], cwd=self.clone, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def git(self, *arguments: str) -> str:
        return subprocess.check_output(["git", *arguments], cwd=self.clone, text=True)


@pytest.fixture(scope="module")
def source(bake: Bake, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A baked app with the page and the jobs of the rehearsal, and a wheel of the engine as it is now."""
    app = tmp_path_factory.mktemp("source") / "blank"
    shutil.copytree(bake("blank"), app)
    shutil.copytree(Path(__file__).with_name("pushed"), app / "app", dirs_exist_ok=True)
    for old in app.glob("vendor/*.whl"):
        old.unlink()
    built = wheel.build(app / "vendor")
    wheel.pin(app / "requirements.txt", built)
    return app


@contextmanager
def hosted(source: Path, folder: Path, settings: dict[str, str]) -> Iterator[Pushed]:
    """Run a host with nginx before it, and a clone of the app that can be pushed to it."""
    host = Host(folder / "host")
    host.folder.mkdir()
    host.create({"APP_ENV": "production", "SECRET_KEY": KEY} | settings)
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


@pytest.fixture
def settings(postgres: PostgresServer, valkey: ValkeyServer) -> Iterator[dict[str, str]]:
    """The settings that a host's add-ons make. Redis has a certificate that nobody has signed."""
    with Proxy(valkey.port, tls="redis") as tls:
        redis_url = f"rediss://:{valkey.password}@{HOST}:{tls.port}"
        yield {"DATABASE_URL": postgres.url.replace("postgresql:", "postgres:"), "REDIS_URL": redis_url}


def test_one(source: Path, tmp_path: Path, settings: dict[str, str]) -> None:
    with hosted(source, tmp_path, settings | {"WORKERS": "4"}) as pushed:
        for _ in range(2):
            done = pushed.push()
            print(done.stdout)
            assert done.returncode == 0
        print(pushed.host.events())
