"""The consumer: a main process that looks after its workers, and workers that claim and run jobs.

The main process runs no jobs, so nothing a job does can keep it from its duties: it renews its workers' leases, sees a
dead worker at once and gives its job back, takes back jobs whose lease ran out elsewhere, and tells a worker whose job
was cancelled. It goes on doing so while it drains. Until then it fires what is due by a schedule (firing.py).
"""

import contextlib
import gc
import logging
import multiprocessing
import multiprocessing.connection
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import Sequence
from typing import Any

from huey.constants import WORKER_PROCESS
from huey.consumer import Consumer, Environment
from huey.exceptions import ConfigurationError

from jobqueue.consumer.leases import Leases
from jobqueue.consumer.processes import DurableProcesses
from jobqueue.consumer.pruner import Pruner
from jobqueue.consumer.scheduler import Scheduler
from jobqueue.consumer.timeouts import TIMEOUT_GRACE
from jobqueue.consumer.worker import IDLE, DurableWorker
from jobqueue.database.database import DatabaseUnavailable
from jobqueue.execution.job_log import pass_on_info
from jobqueue.ledger.ledger import Ledger
from jobqueue.ledger.queues import parse, share_out
from jobqueue.notifier.notifier import Notifier

logger = logging.getLogger("jobqueue.consumer")

TURN = 0.2  # seconds between two looks of the main process at its workers
SWEEP = 1.0  # seconds between sweeps
COME_BACK = 1.0  # seconds until a consumer that starts looks again whether its database answers
CANCEL_GRACE = 5.0  # seconds in which a worker must let go of a job that was taken from it, before it is killed


class DurableConsumer(Consumer):
    """Huey's consumer, with Huey's options, and `queues`: those that its workers serve (see DurableHuey.create_consumer).

    `shutdown_timeout` is the grace in seconds; the huey's `grace_s` if not given.

    SIGTERM and SIGINT drain: no more claims, running jobs may end within the grace, then they go back to the queue.
    """

    worker_class = DurableWorker
    worker_threads: list[tuple[DurableWorker, Any]]

    def __init__(self, huey: Any, queues: str | Sequence[str] | None = None, **options: Any) -> None:
        self.id = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        self._worker_number = 0
        served = parse(queues)
        self.queues = list(served) or None  # None for every queue
        self._queues_of_workers = share_out(served, options.get("workers", 1))
        super().__init__(huey, **options)
        self.grace_s = huey.grace_s if self.shutdown_timeout is None else self.shutdown_timeout
        self._told_at: float | None = None  # when the first signal to stop came, by time.monotonic()
        self._interrupted = 0  # how many times SIGINT came: the second ends the grace
        self._turned_at = self._renewed_at = self._swept_at = 0.0  # by time.monotonic()
        self._ledger: Ledger = huey.ledger
        self._leases = Leases(
            self.id, self._ledger, self._living, lease_s=huey.lease_s, unknown_after_s=huey.unknown_after_s
        )
        self._pruner = Pruner(self._ledger.retention, huey.keep_days, huey.keep_jobs)
        self._scheduler = (
            Scheduler(
                huey.name,
                self.id,
                self._ledger,
                huey.submitter,
                huey._emit,
                huey.periodic_tasks,
                huey.lease_s,
            )
            if self.periodic
            else None
        )
        self._gone: dict[str, float] = {}  # tokens that are no longer their worker's, and since when that is known

    # --- starting ---

    def get_environment(self, worker_type: str) -> Environment:
        if worker_type == WORKER_PROCESS:
            return DurableProcesses(self._graceful_sig, self._interrupt_sig)
        environment: Environment = super().get_environment(worker_type)
        return environment

    def _create_worker(self, before: DurableWorker | None = None) -> DurableWorker:
        """`before`: the one whose place it takes, and whose queues it serves."""
        queues = self._queues_of_workers[self._worker_number] if before is None else before.queues
        self._worker_number += 1
        return self.worker_class(
            consumer=self.id,
            name=f"worker-{self._worker_number}",
            parent=os.getpid(),
            queues=queues,
            ledger=self.huey.ledger,
            executor=self.huey.executor,
            messages=self.huey.messages,
            notifier=self.huey.storage.notifier,
            huey=self.huey,
            stop_flag=self.stop_flag,
            default_delay=self.default_delay,
            max_delay=IDLE,
            backoff=self.backoff,
            max_tasks=self.max_tasks,
        )

    def start(self) -> None:
        """Raises ConfigurationError in immediate mode, where a submit runs the job itself."""
        if self.huey.immediate:
            raise ConfigurationError("A consumer has nothing to do in immediate mode: set huey.immediate = False.")
        pass_on_info(self.huey.messages.task_names())
        logger.info("Consumer %s starts %s %s workers.", self.id, self.workers, self.worker_type)
        while not self._registered():
            time.sleep(COME_BACK)
        self._set_signal_handlers()
        self.notifier.expect(self.workers)
        for _, process in self.worker_threads:
            self._start(process)
        self.notifier.listen()

    def _registered(self) -> bool:
        """Whether the ledger knows this consumer: it may start before its database does."""
        try:
            self.huey.migrate()
            tasks = self.huey.messages.task_names()
            self._ledger.consumers.register(
                self.id, socket.gethostname(), os.getpid(), self.workers, tasks, self.queues, self.huey.version
            )
            if self._scheduler is not None:
                self._scheduler.begin()
        except DatabaseUnavailable as error:
            logger.warning("Consumer %s waits for its database: %s", self.id, error)
            return False
        return True

    @property
    def notifier(self) -> Notifier:
        notifier: Notifier = self.huey.storage.notifier
        return notifier

    def _start(self, process: Any) -> None:
        if self.environment.forks:
            self.huey.storage.close()  # a connection must not be carried into a fork
        process.start()

    def _handle_signal(self, signum: int, frame: Any) -> None:
        self._signum = signum
        self._told_at = self._told_at or time.monotonic()
        self._restart, _ = self._signal_actions[signum]
        self._interrupted += signum == signal.SIGINT

    # --- the main process's turns ---

    def run(self) -> None:
        """Run until SIGTERM or SIGINT; start again on SIGHUP."""
        try:
            self.start()
            while self._signum is None and not self.stop_flag.is_set():
                self._turn()
                self._replace_dead_workers()
            self.stop(graceful=True)
        finally:
            self._kill_workers()
        self.huey.notify_interrupted_tasks()
        if self._restart:
            os.execl(sys.executable, sys.executable, *sys.argv)
        gc.freeze()  # else the interpreter's end goes through all that was ever imported, which takes a while

    def _turn(self, timeout: float = TURN) -> None:
        """Wait a little, or until a worker process ends or the bell is rung, and do what is due."""
        dead = [p.sentinel for _, p in self.worker_threads if p.is_alive()] if self.environment.forks else []
        ready = multiprocessing.connection.wait([*dead, *self.notifier.sockets], timeout)
        self.notifier.forward()
        now = time.monotonic()
        if ready and now < self._turned_at + TURN:
            return
        self._turned_at = now
        try:
            if now >= self._renewed_at + self.huey.renew_s:
                self._leases.renew(self.stop_flag.is_set())
                self._renewed_at = now
                self.notifier.listen()
            if self._scheduler is not None and not self.stop_flag.is_set():  # its workers would not take what is fired
                self._scheduler.turn(self._leases.now())
            self._tell_workers()
            if now >= self._swept_at + SWEEP:
                self._swept_at = now
                self._leases.sweep()
            self._pruner.piece()
        except DatabaseUnavailable as error:
            logger.warning("Consumer %s is out of touch with its database: %s", self.id, error)
            self._leases.lost_touch()

    def _tell_workers(self) -> None:
        """Tell a worker whose job was cancelled or taken back; kill it if it does not let go.

        One whose job's time is over tells itself; it is killed too, if it is where no signal is heard (a long call of C).
        """
        if not self.environment.forks:
            return  # a thread sees it at its next step or progress
        self._end_the_overdue()
        holding = {
            worker.holds.value.decode(): process for worker, process in self.worker_threads if worker.holds.value
        }
        if not holding:
            self._gone.clear()
            return
        held = self._ledger.consumers.held_tokens(self.id)
        now = time.monotonic()
        self._gone = {token: self._gone.get(token, now) for token in holding.keys() - held}
        for token, since in self._gone.items():
            if now >= since + CANCEL_GRACE:
                logger.warning(
                    "Worker process %s does not let go of a job that is not its own; killing it.", holding[token].pid
                )
                holding[token].kill()
            else:
                self._signal(holding[token], DurableProcesses.CHECK_CLAIM)

    def _end_the_overdue(self) -> None:
        for worker, process in self.worker_threads:
            token, deadline = (
                worker.holds.value.decode(),
                worker.deadline.value,
            )  # in this order: a later job's is later
            if not deadline or not token or time.monotonic() < deadline + TIMEOUT_GRACE:
                continue
            if self._ledger.time_out(token):
                logger.warning("Worker process %s does not hear that its job's time is over; killing it.", process.pid)
                process.kill()

    def _replace_dead_workers(self) -> None:
        workers = []
        for worker, process in self.worker_threads:
            if not self.environment.is_alive(process):
                self._bury(worker, process)
                worker = self._create_worker(before=worker)
                process = self._create_process(worker, worker.name)
                self._start(process)
            workers.append((worker, process))
        if workers != self.worker_threads:
            self.worker_threads = workers
            self.notifier.listen()  # again, as the fork has closed it

    def _bury(self, worker: DurableWorker, process: Any) -> None:
        """What a dead worker held goes back to the queue at once."""
        try:
            jobs = self._ledger.consumers.mark_worker_lost(self.id, worker.name)
        except DatabaseUnavailable:
            return  # the lease will run out
        for job_id in jobs:
            logger.warning(
                "%s died (exit %s); its job %s goes back to the queue.",
                worker.name,
                getattr(process, "exitcode", "?"),
                job_id,
            )

    # --- stopping ---

    def stop(self, graceful: bool = False) -> None:
        """Take no more. Gracefully: let running jobs end within the grace; then give back what still runs."""
        self.stop_flag.set()
        self.notifier.wake_all()
        self._renewed_at = 0.0  # the ledger is told at once that it drains
        until = (self._told_at or time.monotonic()) + self.grace_s if graceful else 0.0
        logger.info("Consumer %s stops; running jobs have %s s to end.", self.id, self.grace_s if graceful else 0)
        while self._alive() and (left := until - time.monotonic()) > 0 and self._interrupted < 2:
            self._turn(min(TURN, left))
        for worker, process in self.worker_threads:
            if not self.environment.is_alive(process):
                self._bury(worker, process)
        with contextlib.suppress(DatabaseUnavailable):
            for job_id in self._ledger.release(self.id):
                logger.info("Job %s goes back to the queue: the consumer stops before it has ended.", job_id)
            self._ledger.consumers.deregister(self.id)
        self._kill_workers()

    def _living(self) -> list[tuple[DurableWorker, Any]]:
        """Return the live workers with their processes."""
        return [(worker, process) for worker, process in self.worker_threads if self.environment.is_alive(process)]

    def _alive(self) -> list[Any]:
        return [process for _, process in self._living()]

    def _kill_workers(self) -> None:
        """End worker processes: those with a job are told first, so that their tasks can clean up."""
        if not self.environment.forks:
            return
        for process in self._alive():
            self._signal(process, DurableProcesses.CHECK_CLAIM)
        until = time.monotonic() + 0.5
        for process in self._alive():
            process.join(max(0.0, until - time.monotonic()))
            process.kill()
            process.join()

    @staticmethod
    def _signal(process: Any, signum: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signum)
