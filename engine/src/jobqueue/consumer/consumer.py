"""The consumer's main process: it looks after its workers, and runs no jobs.

In each pass of its loop it does what is due: renew leases, fire schedules, interrupt workers that lost their job, requeue the
jobs of dead workers, and the housekeeping for all consumers while it is elected for that. It continues while it drains, except
that it fires no schedules.
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
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from huey.constants import WORKER_PROCESS
from huey.consumer import Consumer, Environment
from huey.exceptions import ConfigurationError

from jobqueue.consumer.asking import IDLE, Asking
from jobqueue.consumer.housekeeper import Housekeeper
from jobqueue.consumer.leases import Leases
from jobqueue.consumer.processes import DurableProcesses, ask_to_check_claim, how_it_ended
from jobqueue.consumer.pruner import Pruner
from jobqueue.consumer.scheduler import Scheduler
from jobqueue.consumer.watchdog import Watchdog
from jobqueue.consumer.worker import DurableWorker
from jobqueue.database.database import DatabaseUnavailable
from jobqueue.database.problems import Reminder
from jobqueue.execution.job_log import pass_on_info
from jobqueue.ledger.ledger import Ledger
from jobqueue.ledger.queues import parse, share_out
from jobqueue.monitoring.connections import ConnectionPlan
from jobqueue.monitoring.workers import memory
from jobqueue.notifier.notifier import Notifier

logger = logging.getLogger("jobqueue.consumer")

TICK = 0.2  # seconds between two passes of the main loop
SWEEP = 1.0  # seconds between two sweeps
RECONNECT = 1.0  # seconds between two attempts to register while the database does not answer
GIVE_UP = 60.0  # seconds after which a new consumer exits if only a person can end its database's problem
NO_DATABASE = 3  # its exit code then
TOO_MANY_WORKERS = 4  # its exit code if its workers need more connections than the database accepts
MEGABYTE = 1_000_000  # bytes
CLEAN_UP = 0.5  # seconds in which interrupted workers may clean up before they are killed


class DurableConsumer(Consumer):
    """Huey's consumer, with Huey's options.

    SIGTERM and SIGINT drain: workers claim no more jobs, running jobs may end within the grace period, and the jobs that
    still run then are released. SIGQUIT or a second SIGINT ends the grace period at once. SIGHUP drains and restarts.

    :param queues: the queues that its workers serve. See DurableHuey.create_consumer.
    :param max_tasks: jobs after which a worker is replaced by a new one. None for no limit.
    :param max_memory_mb: the resident memory of a worker process in megabytes (1,000,000 bytes). A worker that has more when a
        job has ended is replaced. None for no limit.
    :param shutdown_timeout: the grace period in seconds. By default the huey's `grace_s`.
    """

    worker_class = DurableWorker
    worker_threads: list[tuple[DurableWorker, Any]]

    def __init__(
        self,
        huey: Any,
        queues: str | Sequence[str] | None = None,
        *,
        max_memory_mb: int | None = None,
        **options: Any,
    ) -> None:
        self.id = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        served = parse(queues)
        self.queues = list(served) or None  # None for every queue
        self._queues_of_workers = share_out(served, options.get("workers", 1))
        self._worker_number = 0
        self._asking: defaultdict[tuple[str, ...], Asking] = defaultdict(Asking)  # by the queues of a worker
        self._max_memory = None if max_memory_mb is None else max_memory_mb * MEGABYTE
        super().__init__(huey, **options)
        if max_memory_mb is not None and not self.environment.forks:
            raise ValueError(
                "max_memory_mb (WORKER_MAX_MEMORY, --max-memory) replaces worker processes, and these workers are threads of one "
                "process. Remove it, or use processes: worker_type='process'."
            )
        self.grace_s = huey.grace_s if self.shutdown_timeout is None else self.shutdown_timeout
        self._reminder = Reminder(logger)
        self._started = False  # the workers were started
        self._plan: ConnectionPlan | None = None  # None if the database does not limit connections
        self._stop_requested_at: float | None = None  # time.monotonic() of the first signal to stop
        self._signal_actions[signal.SIGQUIT] = (False, False)
        self._interrupts = 0  # number of SIGINTs; the second ends the grace period
        self._ticked_at = self._renewed_at = self._swept_at = 0.0  # by time.monotonic()
        self._ledger: Ledger = huey.ledger
        self._leases = Leases(self.id, self._ledger, self._live_workers, lease_s=huey.lease_s)
        self._watchdog = Watchdog(self.id, self._ledger, lambda: self.worker_threads)
        self._housekeeper = Housekeeper(
            self.id,
            self._ledger.housekeeping,
            self._leases,
            Pruner(self._ledger.retention, huey.keep_days, huey.keep_jobs),
            lease_s=huey.lease_s,
            unknown_after_s=huey.unknown_after_s,
        )
        self._scheduler: Scheduler | None = None
        if self.periodic:
            self._scheduler = Scheduler(
                huey.name, self.id, self._ledger, huey.submitter, huey._emit, huey.periodic_tasks, huey.lease_s
            )

    # --- the main loop ---

    def run(self) -> None:
        """Run until SIGTERM, SIGINT or SIGQUIT. Restart on SIGHUP."""
        try:
            self.start()
            self.serve()
            self.stop(graceful=True)
        finally:
            self._kill_workers()
        self.huey.notify_interrupted_tasks()
        if self._restart:
            os.execl(sys.executable, sys.executable, *sys.argv)
        gc.freeze()  # otherwise the interpreter's exit visits every imported object, which takes a while

    def serve(self) -> None:
        """Look after the workers until a signal comes or the stop flag is set."""
        while self._signum is None and not self.stop_flag.is_set():
            self._tick()
            self._replace_dead_workers()

    def _tick(self, timeout: float = TICK) -> None:
        """Wait until the timeout, a worker's death or a notification, then do what is due."""
        woken = self._wait(timeout)
        now = time.monotonic()
        if woken and now < self._ticked_at + TICK:
            return
        self._ticked_at = now
        draining = self.stop_flag.is_set()
        try:
            if now >= self._renewed_at + self.huey.renew_s:
                self._leases.renew(draining)
                self._renewed_at = now
                for asking in self._asking.values():
                    asking.consumers.value = self._leases.consumers
                self.notifier.listen()
            if self._scheduler is not None and not draining:  # draining workers would not claim the fired jobs
                if not self._scheduler.fire_due(self._leases.now()):
                    self._renewed_at = 0.0  # the next pass renews at once, and so reads the clock
            if self.environment.forks:
                self._watchdog.check()
            if now >= self._swept_at + SWEEP:
                self._swept_at = now
                self._housekeeper.sweep()
            self._housekeeper.prune_batch()
        except DatabaseUnavailable as error:
            self._reminder.warn("Consumer %s cannot reach its database: %s", self.id, error, about=error.name)
            self._leases.lost_touch()

    def _wait(self, timeout: float) -> bool:
        """Wait, and forward notifications to idle workers. Return whether something happened before the timeout."""
        deaths = [process.sentinel for _, process in self._live_workers()] if self.environment.forks else []
        ready = multiprocessing.connection.wait([*deaths, *self.notifier.sockets], timeout)
        self.notifier.forward()
        return bool(ready)

    def _handle_signal(self, signum: int, frame: Any) -> None:
        self._signum = signum
        self._stop_requested_at = self._stop_requested_at or time.monotonic()
        self._restart, _ = self._signal_actions[signum]
        self._interrupts += {signal.SIGINT: 1, signal.SIGQUIT: 2}.get(signal.Signals(signum), 0)

    @property
    def notifier(self) -> Notifier:
        notifier: Notifier = self.huey.storage.notifier
        return notifier

    # --- starting ---

    def start(self) -> None:
        """Register the consumer and start its workers. Wait for the database as long as it does not answer.

        Raises ConfigurationError in immediate mode, where a submit runs the job itself, and SystemExit with NO_DATABASE if
        the database refuses this app for GIVE_UP seconds, or with TOO_MANY_WORKERS if it accepts too few connections for so many
        workers.
        """
        if self.huey.immediate:
            raise ConfigurationError("A consumer has nothing to do in immediate mode. Set huey.immediate = False.")
        pass_on_info(self.huey.messages.task_names())
        if not self._register_when_possible():
            return
        self._announce()
        self._set_signal_handlers()
        self.notifier.expect([worker.queues for worker, _ in self.worker_threads])
        if self.environment.forks:
            gc.freeze()  # a collection in a worker leaves the imported objects alone, so their memory remains shared
        self._started = True
        for _, process in self.worker_threads:
            self._start(process)
        self.notifier.listen()

    def _register_when_possible(self) -> bool:
        """Register, and wait for the database before. Return False if the stop flag was set meanwhile."""
        refused_since: float | None = None
        while True:
            try:
                self._register()
                return True
            except DatabaseUnavailable as error:
                self._reminder.warn("Consumer %s waits for its database: %s", self.id, error, about=error.name)
                lasts = error.problem is not None and error.problem.lasts
                refused_since = (refused_since or time.monotonic()) if lasts else None
                if refused_since is not None and time.monotonic() >= refused_since + GIVE_UP:
                    logger.error("Consumer %s exits with %s after %g s.", self.id, NO_DATABASE, GIVE_UP)
                    raise SystemExit(NO_DATABASE) from None
            if self.stop_flag.wait(RECONNECT):
                return False

    def _register(self) -> None:
        """Migrate the database and register this consumer, unless it can never get the connections that it needs."""
        self.huey.migrate()
        connections = self._ledger.reading.connections()
        if connections is not None:
            self._plan = ConnectionPlan(*connections, self.workers, listens=self.huey.redis_url is None)
            if self._plan.refusal and self.environment.forks:
                logger.error("%s", self._plan.refusal)
                raise SystemExit(TOO_MANY_WORKERS)
        tasks = self.huey.messages.task_names()
        self._ledger.consumers.register(
            self.id, socket.gethostname(), os.getpid(), self.workers, tasks, self.queues, self.huey.version
        )
        if self._scheduler is not None:
            self._scheduler.start()

    def _announce(self) -> None:
        """Log that the workers start, and how many connections that takes."""
        plan = "" if self._plan is None else f" {self._plan} {self._plan.advice}".rstrip()
        logger.info("Consumer %s starts %s %s workers.%s", self.id, self.workers, self.worker_type, plan)
        taken = memory(os.getpid()) or 0
        if self._max_memory is not None and taken > self._max_memory:
            logger.warning(
                "Each worker takes %.0f MB before its first job, so it is replaced after every job. Raise WORKER_MAX_MEMORY.",
                taken / MEGABYTE,
            )

    def _start(self, process: Any) -> None:
        if self.environment.forks:
            self.huey.storage.close()  # a fork must not inherit a connection
        process.start()

    # --- workers ---

    def get_environment(self, worker_type: str) -> Environment:
        if worker_type == WORKER_PROCESS:
            return DurableProcesses(self._graceful_sig, self._interrupt_sig)
        environment: Environment = super().get_environment(worker_type)
        return environment

    def _create_worker(self, replaces: DurableWorker | None = None) -> DurableWorker:
        """Create a worker. It serves the queues of the worker that it replaces, or else the next share of the queues."""
        queues = self._queues_of_workers[self._worker_number] if replaces is None else replaces.queues
        self._worker_number += 1
        return self.worker_class(
            consumer=self.id,
            name=f"worker-{self._worker_number}",
            parent=os.getpid(),
            queues=queues,
            asking=self._asking[tuple(queues or ())],
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
            max_memory=self._max_memory,
        )

    def _live_workers(self) -> list[tuple[DurableWorker, Any]]:
        """Return the live workers with their processes."""
        return [(worker, process) for worker, process in self.worker_threads if self.environment.is_alive(process)]

    def _replace_dead_workers(self) -> None:
        workers = []
        for worker, process in self.worker_threads:
            if not self.environment.is_alive(process):
                self._requeue_job_of_dead(worker, process)
                worker = self._create_worker(replaces=worker)
                process = self._create_process(worker, worker.name)
                self._start(process)
            workers.append((worker, process))
        if workers != self.worker_threads:
            self.worker_threads = workers
            self.notifier.listen()  # the fork closed the connection

    def _requeue_job_of_dead(self, worker: DurableWorker, process: Any) -> None:
        """Requeue the job of a dead worker at once, and count the loss."""
        how, advice = how_it_ended(getattr(process, "exitcode", None))
        try:
            jobs = self._ledger.consumers.mark_worker_lost(self.id, worker.name, how, advice)
        except DatabaseUnavailable:
            return  # its lease will expire
        for job_id in jobs:
            logger.warning("%s died: %s. Its job %s is requeued.", worker.name, how, job_id)

    # --- stopping ---

    def stop(self, graceful: bool = False) -> None:
        """Stop claiming jobs, and release the jobs that still run. If graceful, wait for the grace period before that.

        Before `start`, only set the stop flag.
        """
        self.stop_flag.set()
        if not self._started:
            return
        self.notifier.wake_all()
        self._renewed_at = 0.0  # so that the next pass reports to the ledger that this consumer drains
        grace_s = self.grace_s if graceful and self._interrupts < 2 else 0
        until = (self._stop_requested_at or time.monotonic()) + grace_s
        logger.info("Consumer %s stops; running jobs have %s s to end.", self.id, grace_s)
        while self._live_workers() and (left := until - time.monotonic()) > 0 and self._interrupts < 2:
            self._tick(min(TICK, left))
        for worker, process in self.worker_threads:
            if not self.environment.is_alive(process):
                self._requeue_job_of_dead(worker, process)
        with contextlib.suppress(DatabaseUnavailable):
            self._release_jobs()
        self._kill_workers()
        with contextlib.suppress(DatabaseUnavailable):
            self._release_jobs()  # a worker's claim may have come after the first release, if its database was slow
            self._ledger.consumers.deregister(self.id)

    def _release_jobs(self) -> None:
        """Release all jobs that this consumer holds."""
        for job_id in self._ledger.release(self.id):
            logger.info("Job %s is released: the consumer stops before the job has ended.", job_id)

    def _kill_workers(self) -> None:
        """Interrupt worker processes, so that their tasks can clean up, then kill them."""
        if not self.environment.forks:
            return
        for _, process in self._live_workers():
            ask_to_check_claim(process)
        until = time.monotonic() + CLEAN_UP
        for _, process in self._live_workers():
            process.join(max(0.0, until - time.monotonic()))
            process.kill()
            process.join()
