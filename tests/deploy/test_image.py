"""The image of a baked app: its Dockerfile is carried out, and the processes of the Procfile run in it, without Docker."""

import contextlib
import json
import shlex
import shutil
import subprocess
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from honcho.environ import parse_procfile

from tests.baking import Bake
from tests.deploy import image
from tests.deploy.image import Stage
from tests.deploy.web_process import KEY
from tests.servers import HOST, free_port, fresh_database, memory, shared_postgres
from tests.waiting import wait_until

pytestmark = pytest.mark.long

SECRET = "nobody-may-read-this-in-an-image"
PRIVATE = [".env", ".git/config", "var/jobs.sqlite", "notebooks/scratch/key.txt", "app/__pycache__/old.pyc"]
COMPILERS = ["cc", "gcc", "g++", "clang", "make", "cargo"]
STARTS_IN = 60  # seconds
GRACE = 40  # seconds after SIGTERM until a host kills what is left, as in compose.yaml and kubernetes/
SUBMIT = "from app.jobs.hello import greet; print(greet('Ann', 1).get(blocking=True, timeout=60))"


@pytest.fixture(scope="module")
def app(bake: Bake, tmp_path_factory: pytest.TempPathFactory) -> Path:
    app = shutil.copytree(bake("blank", deploy="containers"), tmp_path_factory.mktemp("image") / "app")
    for name in PRIVATE:
        app.joinpath(name).parent.mkdir(parents=True, exist_ok=True)
        app.joinpath(name).write_text(SECRET)
    return app


@pytest.fixture(scope="module")
def stages(app: Path) -> Iterator[dict[str, Stage]]:
    with tempfile.TemporaryDirectory(dir=memory()) as folder:
        yield image.build(app, Path(folder, "stages"))


@pytest.fixture(scope="module")
def built(stages: dict[str, Stage]) -> Stage:
    return stages[""]


@pytest.fixture(scope="module")
def settings(shared: Path) -> Iterator[dict[str, str]]:
    with fresh_database(shared_postgres(shared)) as url:
        yield {"DATABASE_URL": url, "SECRET_KEY": KEY, "HOST": HOST, "PORT": str(free_port())}


def test_web_and_worker_run_as_process_1_on_a_read_only_root_until_sigterm(
    built: Stage, app: Path, settings: dict[str, str], tmp_path: Path
) -> None:
    worker = shlex.split(dict(parse_procfile(app.joinpath("Procfile").read_text()).processes)["worker"])
    logs = tmp_path / "web", tmp_path / "worker"
    with (
        built.container(built.command, logs[0], **settings) as web,
        built.container(worker, logs[1], **settings) as consumer,
    ):
        wait_until(lambda: ready(settings) or not (web.running() and consumer.running()), STARTS_IN)
        assert web.running() and consumer.running(), said(*logs)
        for container in (web, consumer):
            assert set(container.first.uids()) == {10001} and set(container.first.gids()) == {10001}
        assert built.output("python", "-c", SUBMIT, **settings) == "Hello, Ann!\n"
        assert (web.stop(GRACE), consumer.stop(GRACE)) == (0, 0), said(*logs)


def test_only_tmp_can_be_written(built: Stage) -> None:
    tried = (
        "for place in /app /opt/venv /etc /var/tmp /tmp; do touch $place/new 2>/dev/null && echo $place; done; id -u"
    )
    assert built.output("sh", "-c", tried) == "/tmp\n10001\n"


def test_image_has_no_compiler(built: Stage) -> None:
    assert not [name for name in COMPILERS if built.output("sh", "-c", f"command -v {name} || true")]


def test_no_stage_has_a_secret(stages: dict[str, Stage]) -> None:
    for stage in stages.values():
        found = subprocess.run(["grep", "-rlF", SECRET, stage.root / "app"], capture_output=True, text=True)
        assert (found.returncode, found.stdout) == (1, "")
        assert not {"SECRET_KEY", "DATABASE_URL", "REDIS_URL"} & stage.variables.keys()


def test_image_has_what_the_app_reads_already_compiled(built: Stage) -> None:
    for module in (built.root / "app" / "app").rglob("*.py"):
        assert list(module.parent.glob(f"__pycache__/{module.stem}.*.pyc")), module


def test_an_app_that_cannot_start_makes_no_image(stages: dict[str, Stage], app: Path) -> None:
    build = stages["build"]
    (check,) = [line for _, line in image.instructions(app) if "post_compile" in line]
    build.root.joinpath("app/app/jobs/broken.py").write_text("import nowhere\n")
    with pytest.raises(subprocess.CalledProcessError) as refused:
        build.run(check)
    assert "app/jobs/broken.py, line 1: ModuleNotFoundError: No module named 'nowhere'" in (
        refused.value.stdout + refused.value.stderr
    )


def ready(settings: dict[str, str]) -> bool:
    """Return whether /readyz is 200 and knows of a worker."""
    address = f"http://{settings['HOST']}:{settings['PORT']}/readyz"
    with contextlib.suppress(OSError), urllib.request.urlopen(address, timeout=2) as answer:
        return bool(json.load(answer)["informative"]["workers"])
    return False


def said(*logs: Path) -> str:
    return "\n".join(log.read_text() for log in logs)
