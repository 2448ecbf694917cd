"""The recipes of docs/notify.md, with a real mail server and a real HTTP server."""

import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Message as MessageHandler

from jobqueue.database.database import Database
from jobqueue.ledger.ledger import Ledger
from tests.baking import KIT
from tests.servers import free_port
from tests.waiting import wait_until

SECONDS = 60.0  # that anything may take on a busy machine
TO = "ann@example.org"

# Names of these tasks say what they do. `flaky` needs its second attempt.
WORK = """
from pathlib import Path

from app.jobs import huey


@huey.task()
def good(n): return n


@huey.task(retries=1)
def flaky():
    tried = Path("tried")
    if not tried.exists():
        tried.touch()
        raise ValueError("not yet")


@huey.task(retries=1)
def bad(): raise ValueError("no price")
"""

SUBMIT = """
import sys
from huey import chord
from app.jobs import huey
from app.jobs.notify import mail, post
from app.jobs.work import bad, flaky, good

{code}
print(job.id)
"""


class MailServer(MessageHandler):
    """A mail server that keeps what it gets. `on_delivery` is called before it answers that it took a message."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[Message] = []
        self.on_delivery: Callable[[], object] = lambda: None

    def handle_message(self, message: Message) -> None:
        self.messages.append(message)
        act, self.on_delivery = self.on_delivery, lambda: None
        act()


class Webhook:
    """An HTTP server that keeps the keys and bodies that it gets, and answers with these statuses, then with 200."""

    def __init__(self, *statuses: int) -> None:
        left = list(statuses)
        self.keys: list[str] = []
        self.bodies: list[bytes] = []
        webhook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                webhook.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
                webhook.keys.append(self.headers["Idempotency-Key"])
                self.send_response(left.pop(0) if left else 200)
                self.end_headers()

            def log_message(self, *_: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


class NotifyingApp:
    """An app with the recipes, and one worker."""

    def __init__(self, folder: Path, smtp_port: int, webhook: Webhook) -> None:
        self.folder = folder
        settings = {"SMTP_PORT": smtp_port, "WEBHOOK": f"http://127.0.0.1:{webhook.server.server_port}/ended"}
        self.environ = os.environ | {name: str(value) for name, value in settings.items()}
        self.ledger = Ledger(Database(f"sqlite:///{folder / 'var' / 'jobs.sqlite'}"))
        with folder.joinpath("worker.log").open("wb") as log:
            command = [sys.executable, "-m", "app", "worker", "--workers", "1"]
            self.consumer = psutil.Popen(command, cwd=folder, env=self.environ, stdout=log, stderr=log)

    def submit(self, code: str) -> str:
        """Run the code, and return the id of the last `job` that it submits."""
        done = subprocess.run(
            [sys.executable, "-c", SUBMIT.format(code=code)], cwd=self.folder, env=self.environ, check=True,
            capture_output=True, text=True,
        )  # fmt: skip
        return done.stdout.strip()

    def kill_worker(self) -> None:
        for worker in self.consumer.children(recursive=True):
            worker.kill()

    def states(self) -> list[tuple[str, str]]:
        """Return the tasks and states of all jobs, in order."""
        rows = self.ledger.reading.jobs(task=None, state=None, owner=None, limit=50)
        return sorted((row["task"].rpartition(".")[2], row["state"]) for row in rows)


@pytest.fixture
def mail_server() -> MailServer:
    return MailServer()


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    webhook = Webhook(500, 503)
    yield webhook
    webhook.server.shutdown()
    webhook.server.server_close()


@pytest.fixture
def app(bake: Callable[..., Path], tmp_path: Path, mail_server: MailServer, webhook: Webhook) -> Iterator[NotifyingApp]:
    folder = tmp_path / "app"
    shutil.copytree(bake(example="blank"), folder)
    recipe, settings = blocks()[:2]
    assert recipe.count("retry_delay=60") == 2
    folder.joinpath("app/jobs/notify.py").write_text(recipe.replace("retry_delay=60", "retry_delay=0"))
    folder.joinpath("app/jobs/work.py").write_text(WORK)
    before = folder.joinpath("app/settings.py").read_text()
    place = "\n\nsettings = load_or_exit(Settings)"
    assert place in before
    folder.joinpath("app/settings.py").write_text(before.replace(place, f"\n{settings}{place}"))
    sink = Controller(mail_server, hostname="127.0.0.1", port=free_port())
    sink.start()
    app = NotifyingApp(folder, sink.port, webhook)
    yield app
    app.kill_worker()
    app.consumer.kill()
    app.consumer.wait()
    app.ledger.database.close()
    sink.stop()


def blocks() -> list[str]:
    """Return the blocks of Python in docs/notify.md."""
    return re.findall(r"```python\n(.*?)```", KIT.joinpath("docs/notify.md").read_text(), re.DOTALL)


def test_mail_whose_worker_dies_after_the_delivery_comes_again_with_the_same_id(
    app: NotifyingApp, mail_server: MailServer
) -> None:
    mail_server.on_delivery = app.kill_worker
    job = app.submit(f"job = good.s(1); huey.enqueue(job.then(mail, {TO!r}, job.id))")
    wait_until(lambda: app.states() == [("good", "succeeded"), ("mail", "succeeded")], SECONDS)
    first, second = mail_server.messages
    assert first["Message-ID"] == second["Message-ID"] and first["To"] == TO
    assert first["Subject"].endswith("good succeeded") and f"/jobs/{job}" in first.get_payload()


def test_webhook_that_fails_twice_gets_the_same_key_until_it_accepts(app: NotifyingApp, webhook: Webhook) -> None:
    job = app.submit("job = good.s(1); huey.enqueue(job.then(post, job.id))")
    wait_until(lambda: app.states() == [("good", "succeeded"), ("post", "succeeded")], SECONDS)
    assert len(webhook.keys) == 3 and len(set(webhook.keys)) == 1
    assert job.encode() in webhook.bodies[-1] and b'"succeeded"' in webhook.bodies[-1]


def test_attempt_that_is_retried_tells_nothing_and_a_failure_is_told_once(
    app: NotifyingApp, mail_server: MailServer
) -> None:
    app.submit(
        f"for job in flaky.s(), bad.s(): huey.enqueue(chord([job], mail.s({TO!r}, job.id)))\n"
        f"job = bad.s(); huey.enqueue(job.then(mail, {TO!r}, job.id))"
    )
    ended = [("bad", "failed"), ("bad", "failed"), ("flaky", "succeeded")]
    told = [("mail", "cancelled"), ("mail", "succeeded"), ("mail", "succeeded")]
    wait_until(lambda: app.states() == ended + told, SECONDS)
    subjects = sorted(message["Subject"].split(": ")[1] for message in mail_server.messages)
    assert subjects == ["bad failed", "flaky succeeded"]
    (failed,) = [message for message in mail_server.messages if "failed" in message["Subject"]]
    assert "ValueError: no price" in failed.get_payload()
