"""A web process of a baked app, started as the Procfile starts it."""

import http.client
import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from tests.servers import free_port
from tests.waiting import wait_until

STARTS_IN = 60  # seconds
KEY = "k3yTh4tNobodyGuesses-0123456789abcdefg"
PRODUCTION = {"APP_ENV": "production", "SECRET_KEY": KEY}


class WebProcess:
    """`python -m app web` in the folder of an app. As a context manager it answers at first, and is gone in the end."""

    def __init__(self, app: Path, log: Path, **settings: str) -> None:
        self.app, self.log, self.port = app, log, free_port()
        self.settings = os.environ | {"PORT": str(self.port), "HOST": "127.0.0.1"} | settings

    def __enter__(self) -> "WebProcess":
        self.start()
        wait_until(lambda: self.answers() or self.process.poll() is not None, STARTS_IN)
        assert self.process.poll() is None, self.said()
        return self

    def __exit__(self, *exception: object) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "app", "web"],
                cwd=self.app, env=self.settings, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def said(self) -> str:
        return self.log.read_text()

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children()

    def connect(self, timeout: float = 10) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def get(self, path: str, timeout: float = 10) -> tuple[int, str]:
        """Return status and body. Raises OSError, http.client.HTTPException."""
        connection = self.connect(timeout)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def ready(self) -> tuple[int, dict[str, Any]]:
        """Ask /readyz, which must answer within two seconds."""
        status, body = self.get("/readyz", timeout=2)
        return status, json.loads(body)

    def answers(self) -> bool:
        with suppress(OSError, http.client.HTTPException):
            return self.get("/healthz")[0] == 200
        return False
