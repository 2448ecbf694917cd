"""A running queue: an empty database, a consumer that is restarted when it ends, and programs that submit jobs."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from benchmarks.work import Note, notes
from tests.servers import PostgresServer, ValkeyServer, fresh_database, fresh_redis

KIT = Path(__file__).parents[1]
ENGINE = KIT / "engine" / "src"
BIN = Path(sys.executable).parent
STOPS_IN = 10.0  # seconds until a consumer is killed


class Servers(NamedTuple):
    postgres: PostgresServer
    valkey: ValkeyServer


class Peer(NamedTuple):
    """One row of the tables."""

    label: str
    module: str  # in benchmarks/queues
    postgres: bool = False
    redis: bool = False


class Running:
    """A queue with its consumer, whose output is in `log`."""

    def __init__(self, module: str, folder: Path, environment: dict[str, str]) -> None:
        self.module = module
        self.notes = folder / "notes.txt"
        self.enough = folder / "enough"
        self.go = folder / "go"
        self.log = folder / "log"
        self.environment = os.environ | environment | {"BENCH_FOLDER": str(folder)}
        self.environment["PYTHONPATH"] = os.pathsep.join(map(str, (KIT, ENGINE)))
        found = self.ask("consumer")
        self.command = [str(BIN / found["command"][0]), *found["command"][1:]]
        self.ask("prepare")
        self.processes = [self._start() for _ in range(found["processes"])]

    def ask(self, what: str, number: int = 0) -> Any:
        """Run a command of benchmarks/submitter.py and return its answer."""
        done = subprocess.run(self._submitter(what, number), env=self.environment, cwd=KIT, capture_output=True)
        if done.returncode:
            log = self.log.read_text()[-3000:] if self.log.exists() else ""
            raise RuntimeError(f"{self.module} {what}:\n{done.stderr.decode()[-3000:]}\n{log}")
        return json.loads(done.stdout.splitlines()[-1])

    @contextmanager
    def loaded(self) -> Iterator[None]:
        """Let another program submit jobs at an even pace during the block."""
        load = subprocess.Popen(
            self._submitter("load", 10**6), env=self.environment, cwd=KIT, stdout=subprocess.DEVNULL
        )
        try:
            while not any(note.job.startswith("load-") for note in self.noted()):
                time.sleep(0.1)
            yield
        finally:
            self.enough.touch()
            load.wait()

    def noted(self) -> list[Note]:
        return list(notes(self.notes))

    def tree(self) -> list[psutil.Process]:
        found = []
        for started in self.processes:
            with suppress(psutil.NoSuchProcess):
                process = psutil.Process(started.pid)
                found += [process, *process.children(recursive=True)]
        return found

    def memory(self) -> float:
        """Return the bytes of the consumer and its workers. Only on Linux, shared memory counts once."""
        total = 0.0
        for process in self.tree():
            with suppress(psutil.NoSuchProcess):
                full = process.memory_full_info()
                total += getattr(full, "pss", full.rss)
        return total

    def restart_ended(self) -> None:
        """Start ended processes again, as a process manager does."""
        self.processes = [self._start() if process.poll() is not None else process for process in self.processes]

    def kill(self) -> None:
        """Kill all processes of the consumer with SIGKILL, and start it again."""
        self._kill()
        self.restart_ended()

    def stop(self) -> None:
        for process in self.processes:
            process.send_signal(signal.SIGTERM)
        until = time.monotonic() + STOPS_IN
        for process in self.processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, until - time.monotonic()))
        self._kill()

    def _kill(self) -> None:
        for process in self.tree():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        for started in self.processes:
            started.wait()

    def _start(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(self.command, env=self.environment, cwd=KIT, stdout=log, stderr=log)

    def _submitter(self, what: str, number: int) -> list[str]:
        return [sys.executable, "-m", "benchmarks.submitter", self.module, what, str(number)]


@contextmanager
def running(peer: Peer, servers: Servers, **environment: str) -> Iterator[Running]:
    """Start a queue on an empty database, and wait until each worker has run a job."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        environment["BENCH_DATABASE_URL"] = f"sqlite:///{folder}/jobs.sqlite"
        if peer.postgres:
            environment["BENCH_DATABASE_URL"] = stack.enter_context(fresh_database(servers.postgres.url))
        if peer.redis:
            environment["BENCH_REDIS_URL"] = stack.enter_context(fresh_redis(servers.valkey.url))
        queue = Running(peer.module, folder, environment)
        stack.callback(queue.stop)
        queue.ask("warm")
        yield queue
