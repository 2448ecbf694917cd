"""The commands of docs/deploy.md, read from that page: from nothing to an app with an account, to a new key, to an older release.

test_backup.py runs those that back up and restore. Two kinds are run nowhere: `heroku releases` and `rollback`, which only Heroku has,
and the two commands that measure.
"""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobqueue import DurableHuey
from jobqueue.accounts.users import Users
from tests import baking
from tests.deploy import clients
from tests.deploy.pushing import Pushed, hosted
from tests.end_to_end.running import PASSWORD
from tests.waiting import wait_until

pytestmark = pytest.mark.long

PAGE = baking.KIT.joinpath("docs", "deploy.md").read_text()
BLOCKS = [block.splitlines() for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)]
HEROKU, PREBOOT, PLUGINS, CREATE, PUSH, ACCOUNT, CHECK, MEMORY, SERVERS, DOCTOR, RELEASES, OLDER, KEYS, *BACKUP = BLOCKS
NEW_KEY = "4n0therKeyTh4tNobodyGuesses-0123456789"


class Desk:
    """The owner's clone, in a shell that has `heroku` and `dokku`, and the host that both lead to."""

    def __init__(self, pushed: Pushed, programs: Path, database_url: str) -> None:
        self.pushed, self.programs, self.database_url = pushed, programs, database_url

    def types(self, *commands: str, **variables: str) -> str:
        """Run lines of the page, and type a new user's password where one asks. Return what they print."""
        printed = ""
        for command in commands:
            done = subprocess.run(
                command, shell=True, cwd=self.pushed.clone, env=baking.with_programs(self.programs, **variables),
                input=f"{PASSWORD}\n" * 2, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            )  # fmt: skip
            printed += done.stdout
            assert done.returncode == 0, f"{command}\n{printed}"
        return printed

    def settings(self) -> dict[str, str]:
        """Return the app's settings at the host."""
        return dict(self.pushed.host.read("settings.json"))

    def wait_for(self, commit: str) -> None:
        """Wait until the host serves this commit. nginx starts other processes for a switch."""
        wait_until(lambda: self.pushed.served() == commit)

    def admins(self) -> list[str]:
        huey = DurableHuey("desk", self.database_url)
        try:
            return [user["name"] for user in Users(huey).all() if user["admin"]]
        finally:
            huey.storage.close()


@pytest.fixture
def desk(source: Path, fresh_postgres: str, tmp_path: Path, environments: Path) -> Iterator[Desk]:
    """Nothing is set but what app.json sets without a secret."""
    described = json.loads(source.joinpath("app.json").read_text())["env"]
    given = {name: variable["value"] for name, variable in described.items() if "value" in variable}
    with hosted(source, tmp_path, environments, given) as pushed:
        clients.install(tmp_path / "programs", pushed.host, fresh_postgres.replace("postgresql:", "postgres:"))
        pushed.git("config", f"url.{pushed.host.repository}.insteadOf", "dokku@desk.example.com:desk")
        pushed.save()
        yield Desk(pushed, tmp_path / "programs", fresh_postgres)


def test_heroku_from_nothing_to_an_account_and_to_a_new_key(desk: Desk) -> None:
    desk.types(*HEROKU, *PREBOOT)
    desk.wait_for(desk.pushed.commit())
    assert desk.admins() == ["ann"]
    old_key = desk.settings()["SECRET_KEY"]
    assert len(old_key) == 64
    assert DOCTOR[0] in HEROKU
    keys = [
        (desk.types(step, NEW_KEY=NEW_KEY, OLD_KEY=old_key), desk.types(DOCTOR[0]), desk.settings()) for step in KEYS
    ]
    assert [(now["SECRET_KEY"], now.get("SECRET_KEY_FALLBACKS")) for *_, now in keys] == [
        (old_key, NEW_KEY),
        (NEW_KEY, old_key),
        (NEW_KEY, None),
    ]


def test_dokku_from_nothing_to_an_account_and_back_to_an_older_release(desk: Desk) -> None:
    desk.types(*PLUGINS, *CREATE, *PUSH, *ACCOUNT)
    first = desk.pushed.commit()
    desk.wait_for(first)
    assert desk.admins() == ["ann"]
    assert DOCTOR[1] in ACCOUNT
    desk.pushed.save()
    desk.types(PUSH[-1])
    desk.wait_for(desk.pushed.commit())
    (force,) = OLDER
    desk.types(force.replace("1a2b3c4", first))
    desk.wait_for(first)
    assert desk.pushed.git("ls-remote", "dokku", "main").split()[0] == first


def test_an_app_is_checked_before_a_push(installed: baking.Bake) -> None:
    (check,) = CHECK
    done = subprocess.run(check, shell=True, cwd=installed("blank"), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
