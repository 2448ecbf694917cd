"""Fixtures: the small apps under Dash's own manager, and under HueyManager with a running consumer."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from dash import Dash, DiskcacheManager

from jobqueue import DurableHuey
from tests.engine.consumers import ConsumerProcess, consumer_process, environment, wait_until
from tests.engine.dash.background.apps import apps_of, make_apps

KIT = Path(__file__).parents[4]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return an empty folder. The apps write to `notes` in it."""
    folder = tmp_path_factory.mktemp("dash")
    Path(folder, "notes").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NOTES", str(folder / "notes"))
        yield folder


@pytest.fixture(autouse=True)
def no_notes(folder: Path) -> None:
    shutil.rmtree(folder / "notes")
    Path(folder, "notes").mkdir()


@pytest.fixture(scope="session")
def huey(folder: Path) -> Iterator[DurableHuey]:
    url = f"sqlite:///{folder}/jobs.sqlite"
    huey = DurableHuey("dash", url, secret_key="a key for tests", lease_s=2.0, renew_s=0.5)
    huey.migrate()
    yield huey
    huey.storage.close()


@pytest.fixture(scope="session")
def consumer(huey: DurableHuey, folder: Path) -> Iterator[ConsumerProcess]:
    command = ["-m", "tests.engine.dash.background.run_consumer", huey.database_url]
    with consumer_process(command, folder / "consumer.log", cwd=KIT, env=environment(KIT)) as consumer:
        wait_until(huey.ledger.consumers.all, 60)
        yield consumer


@pytest.fixture(scope="session")
def ours(huey: DurableHuey, consumer: ConsumerProcess) -> dict[str, Dash]:
    return served(apps_of(huey))


@pytest.fixture(scope="session")
def peers(folder: Path) -> dict[str, Dash]:
    """Return the apps under Dash's manager, each with its own cache."""
    import diskcache

    caches: list[diskcache.Cache] = []

    def manager() -> DiskcacheManager:
        caches.append(diskcache.Cache(str(folder / f"cache {len(caches)}")))
        return DiskcacheManager(caches[-1])

    return served(make_apps(manager))


def served(apps: dict[str, Dash]) -> dict[str, Dash]:
    """Let the app with pages get the first request, as the first app gets the callbacks of pages."""
    apps["pages"].server.test_client().get("/")
    return apps


@pytest.fixture(scope="session", params=["ours", "peers"])
def apps(request: pytest.FixtureRequest) -> dict[str, Dash]:
    """Run all tests of one manager before the other's. Dash keeps one function per source and callback id."""
    found: dict[str, Dash] = request.getfixturevalue(request.param)
    return found
