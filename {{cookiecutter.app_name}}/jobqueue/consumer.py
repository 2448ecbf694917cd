"""The consumer: a main process that looks after its workers, and workers that claim and run jobs.

The main process runs no jobs, so nothing a job does can keep it from its duties: it renews its workers' leases, sees a
dead worker at once and gives its job back, takes back jobs whose lease ran out elsewhere, and tells a worker whose job
was cancelled. It goes on doing so while it drains. Until then it fires what is due by a schedule (firing.py).
"""

import contextlib
import ctypes
import ctypes.util
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
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any

from huey.api import Task
from huey.constants import WORKER_PROCESS
from huey.consumer import Consumer, Environment, ProcessEnvironment, Worker
from huey.exceptions import ConfigurationError, TaskTimeout

from jobqueue import interrupts
from jobqueue.bell import Bell
from jobqueue.claim import Claim
from jobqueue.context import ClaimedJob, current_job
from jobqueue.database import DatabaseUnavailable
from jobqueue.firing import Firing
from jobqueue.huey import DurableHuey
from jobqueue.ledger import SWEEP_LIMIT, Asking
from jobqueue.logs import pass_on_info
from jobqueue.pruning import Pruner
from jobqueue.queues import DEFAULT, parse, share_out
from jobqueue.workers import Process, memory, told

logger = logging.getLogger("jobqueue.consumer")

TURN = 0.2  # seconds between two looks of the main process at its workers
SWEEP = 1.0  # seconds between sweeps
SWEEP_UNKNOWN = 60.0  # seconds between two looks for jobs whose task nobody knows
COME_BACK = 1.0  # seconds until a consumer that starts looks again whether its database answers
IDLE = 1.0  # seconds that a worker waits for the bell before it looks by itself
ASIDE = 0.25  # seconds for which a worker that passed a ring on does not listen
CANCEL_GRACE = 5.0  # seconds in which a worker must let go of a job that was taken from it, before it is killed
TIMEOUT_GRACE = interrupts.AGAIN + 2.0  # the same for a job whose time is over: it has been interrupted twice by then
TOKEN = 32  # characters of a token
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class DurableWorker(Worker):
    """Claims a job, runs it, writes its end; waits for the bell when there is none."""

    huey: DurableHuey

    def __init__(self, *, consumer: str, name: str, parent: int, queues: list[str] | None, **options: Any) -> None:
        super().__init__(**options)
        self.queues = queues  # that it serves; None for every queue
        self.lately: list[str] = []  # those that it was given jobs of, the last one last
        self.consumer = consumer
        self.name = name
        self.parent = parent
        # For the main process to see: the token that it works under, and the last under which it asked for a job.
        self.holds = multiprocessing.RawArray("c", TOKEN)
        self.asks = multiprocessing.RawArray("c", TOKEN)
        self.deadline = multiprocessing.RawValue("d", 0.0)  # of the job that it runs, by time.monotonic(); 0 for none
        self.made_at = time.monotonic()
        self.unsure = False  # whether a claim may have been made that was not answered
        self.heard = False  # a ring that nobody else has heard, since the last claim

    def loop(self, now: Any = None) -> None:
        if self._is_orphan:
            sys.exit("The consumer is gone; its workers go with it.")
        try:
            if self.unsure:
                self.huey.ledger.give_back(self.consumer, self.name)  # it was made, and never told
            self.unsure = True
            task = self.huey.claim(self.consumer, self.name, self._ask, self.queues, self.lately)
            self.unsure = False
            not_mine = (
                task is None and self.heard and self.huey.ledger.any_queued_but(list(self.huey._registry._registry))
            )
        except DatabaseUnavailable as error:
            self._logger.warning("No claim: %s", error)
            self.asks.value = b""
            self.sleep()
            return
        if task is None:
            if not_mine:  # other code knows its task: let a worker hear that has it, which this one does not hinder
                self.huey.storage.bell.ring(self.queues or [DEFAULT])
                self.stop_flag.wait(ASIDE)
            self.heard = self.huey.storage.bell.wait(IDLE, self.stop_flag.wait, self.queues)
            return
        self.heard = False
        self.delay = self.default_delay
        while task is not None:
            self._execute(task.claim, task)
            task = self._next_after(task.claim)
        self.recycle()

    def _execute(self, claim: Claim, task: Task) -> None:
        self.task_count += 1
        self.holds.value = claim.token.encode()
        self.lately = [*(queue for queue in self.lately if queue != claim.queue), claim.queue]
        claim.ask_next = self._ask_next
        try:
            self.huey.execute(task)
        finally:
            self.holds.value = b""

    def _ask_next(self) -> Asking | None:
        if self.stop_flag.is_set() or self._is_orphan or self._is_worn_out:
            return None
        return self.huey.asking(self.consumer, self.name, self._ask, self.queues, self.lately)

    def _next_after(self, claim: Claim) -> Task | None:
        """What was claimed as that one ended."""
        self.unsure = claim.unsure
        if claim.next is None:
            return None
        self.unsure = True
        try:
            task = self.huey.claimed(*claim.next)
        except DatabaseUnavailable as error:
            self._logger.warning("What was claimed is given back: %s", error)
            return None
        self.unsure = False
        return task

    def _ask(self, token: str) -> None:
        self.asks.value = token.encode()

    def shutdown(self) -> None:
        if self.unsure:
            with contextlib.suppress(DatabaseUnavailable):
                self.huey.ledger.give_back(self.consumer, self.name)
        super().shutdown()

    @property
    def _is_orphan(self) -> bool:
        return os.getpid() != self.parent and os.getppid() != self.parent

    @property
    def _is_worn_out(self) -> bool:
        return bool(self.max_tasks) and self.task_count >= self.max_tasks

    def recycle(self) -> None:
        from huey.consumer import WorkerRecycle

        if self._is_worn_out:
            raise WorkerRecycle


class DurableProcesses(ProcessEnvironment):
    """Worker processes that die with their parent and hear two signals: the alarm of a timeout, and "look again"."""

    LOOK_AGAIN = signal.SIGUSR1  # the claim may be gone

    def create_process(self, runnable: Any, name: str) -> Any:
        return self.mp.Process(target=runnable, name=name, daemon=False)  # a daemon may not start processes of its own

    def init_child(self, process: DurableWorker) -> None:
        self.worker = process
        die_with_parent(process.parent)
        for stop in STOPS:
            # The main process decides when a worker stops. Not SIG_IGN, which a task's own subprocesses would inherit.
            signal.signal(stop, lambda *_: None)
        signal.signal(signal.SIGALRM, on_alarm)
        signal.signal(self.LOOK_AGAIN, lambda *_: interrupts.request(current_job().token, lambda: lost(process.huey)))
        let_children_be_stopped()

    @contextlib.contextmanager
    def timeout(self, seconds: float) -> Iterator[None]:
        self.worker.deadline.value = time.monotonic() + seconds
        signal.setitimer(signal.ITIMER_REAL, seconds, interrupts.AGAIN / 5)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            self.worker.deadline.value = 0.0


def on_alarm(signum: int, frame: FrameType | None) -> None:
    """The time of the current job is over. Python drops what is raised in a destructor: then it is raised after that."""
    outside = inner = frame
    while inner is not None:
        if inner.f_code.co_name == "__del__":
            outside = inner.f_back
        inner = inner.f_back
    if outside is frame or outside is None:
        interrupts.request(current_job().token, time_is_over)
    else:
        at_next_line(outside, lambda: interrupts.request(current_job().token, time_is_over))


def at_next_line(frame: FrameType, do: Callable[[], None]) -> None:
    """Do it when that frame comes to its next line, or returns; what it raises is raised there."""
    before = sys.gettrace()

    def arrived(*_: object) -> None:
        frame.f_trace = None
        sys.settrace(before)
        do()

    frame.f_trace = arrived
    sys.settrace(lambda *_: None)  # not in the frames that it calls


def let_children_be_stopped() -> None:
    """What a task forks is not a worker: it can be ended like any process, from its first moment on."""

    def block() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)

    def unblock() -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)

    def restore() -> None:
        for signum in (*STOPS, signal.SIGALRM, DurableProcesses.LOOK_AGAIN):
            signal.signal(signum, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        unblock()

    os.register_at_fork(before=block, after_in_parent=unblock, after_in_child=restore)


def time_is_over() -> TaskTimeout | interrupts.OutOfTime | None:
    """A reason to interrupt the current job, unless the alarm is an earlier job's.

    The first exception is one that a task may catch to clean up. Some tasks go on after any Exception, so those that come
    after it are harder to catch.
    """
    job = current_job()
    if not isinstance(job, ClaimedJob) or job.deadline is None or time.monotonic() < job.deadline:
        return None
    if job.told_at is None:
        job.told_at = time.monotonic()
        return job.timed_out()
    return interrupts.OutOfTime(str(job.timed_out()))


def lost(huey: DurableHuey) -> interrupts.ClaimLost | None:
    """A reason to interrupt the current job, if its claim does not hold any more."""
    job = current_job()
    try:
        if isinstance(job, ClaimedJob) and not huey.ledger.still_held(job.id, job.token):
            return interrupts.ClaimLost(f"Job {job.id} is no longer this worker's.")
    except DatabaseUnavailable as error:
        logger.warning("Whether job %s is still this worker's cannot be seen: %s", job.id, error)
    return None


def is_stopped(process: Any) -> bool:
    """Whether a child process was stopped and not continued since; a thread never is."""
    pid = getattr(process, "pid", None)
    if pid is None:
        return False
    try:
        return os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return False


def die_with_parent(parent: int) -> None:
    """Ask the kernel (Linux) to kill this process when its parent dies; elsewhere each claim looks whether it lives."""
    if sys.platform == "linux":
        PR_SET_PDEATHSIG = 1
        ctypes.CDLL(ctypes.util.find_library("c"), use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died in between
        os._exit(1)


class DurableConsumer(Consumer):
    """Huey's consumer, with Huey's options, and `queues`: those that its workers serve (see DurableHuey.create_consumer).

    `shutdown_timeout` is the grace in seconds; the huey's `grace_s` if not given.

    SIGTERM and SIGINT drain: no more claims, running jobs may end within the grace, then they go back to the queue.
    """

    worker_class = DurableWorker
    huey: DurableHuey
    worker_threads: list[tuple[DurableWorker, Any]]

    def __init__(self, huey: DurableHuey, queues: str | Sequence[str] | None = None, **options: Any) -> None:
        self.id = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        self._worker_number = 0
        served = parse(queues)
        self.queues = list(served) or None  # None for every queue
        self._queues_of_workers = share_out(served, options.get("workers", 1))
        super().__init__(huey, **options)
        self.grace_s = huey.grace_s if self.shutdown_timeout is None else self.shutdown_timeout
        self._told_at: float | None = None  # when the first signal to stop came, by time.monotonic()
        self._interrupted = 0  # how many times SIGINT came: the second ends the grace
        self._turned_at = self._renewed_at = self._swept_at = self._swept_unknown_at = 0.0  # by time.monotonic()
        self._in_touch_since: float | None = None  # the database's time since which no lease of ours was late
        self._last_contact = 0.0  # the database's time of the last renewal
        self._pruner = Pruner(huey.ledger, huey.keep_days, huey.keep_jobs)
        self._clock = 0.0  # what the database's time is ahead of time.monotonic()
        self._firing = Firing(huey, self.id) if self.periodic else None
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
        pass_on_info(self.huey._registry._registry)
        logger.info("Consumer %s starts %s %s workers.", self.id, self.workers, self.worker_type)
        while not self._greeted():
            time.sleep(COME_BACK)
        self._set_signal_handlers()
        self.bell.attend(self.workers)
        for _, process in self.worker_threads:
            self._start(process)
        self.bell.listen()

    def _greeted(self) -> bool:
        """Whether the ledger knows this consumer: it may start before its database does."""
        try:
            self.huey.migrate()
            tasks = list(self.huey._registry._registry)
            self.huey.ledger.greet(
                self.id, socket.gethostname(), os.getpid(), self.workers, tasks, self.queues, self.huey.version
            )
            if self._firing is not None:
                self._firing.begin()
        except DatabaseUnavailable as error:
            logger.warning("Consumer %s waits for its database: %s", self.id, error)
            return False
        return True

    @property
    def bell(self) -> Bell:
        return self.huey.storage.bell

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
        ready = multiprocessing.connection.wait([*dead, *self.bell.ears], timeout)
        self.bell.pass_on()
        now = time.monotonic()
        if ready and now < self._turned_at + TURN:
            return
        self._turned_at = now
        try:
            if now >= self._renewed_at + self.huey.renew_s:
                self._renew()
                self._renewed_at = now
                self.bell.listen()
            if self._firing is not None and not self.stop_flag.is_set():  # its workers would not take what is fired
                self._firing.turn(self._clock + time.monotonic())
            self._tell_workers()
            if now >= self._swept_at + SWEEP:
                self._swept_at = now
                self._sweep()
            self._pruner.piece()
        except DatabaseUnavailable as error:
            logger.warning("Consumer %s is out of touch with its database: %s", self.id, error)
            self._in_touch_since = None

    def _renew(self) -> None:
        started = time.monotonic()
        now = self.huey.ledger.renew(
            self.id, self._held(), self.huey.lease_s, told(self._processes()), self.stop_flag.is_set()
        )
        slow = time.monotonic() - started > self.huey.lease_s
        late = slow or now - self._last_contact > self.huey.lease_s  # an outage, or this machine slept
        if self._in_touch_since is None or late:
            self._in_touch_since = now
        self._last_contact = now
        self._clock = now - time.monotonic()
        self._give_back_unheard()

    def _processes(self) -> list[Process]:
        living = [(worker, process) for worker, process in self.worker_threads if self.environment.is_alive(process)]
        return [
            Process(name=worker.name, pid=pid, age_s=time.monotonic() - worker.made_at, memory=memory(pid))
            for worker, process in living
            for pid in [getattr(process, "pid", None) or os.getpid()]
        ]

    def _give_back_unheard(self) -> None:
        """A claim may be made after its worker gave up: the database goes on, or a network delivers what it held."""
        living = [worker for worker, process in self.worker_threads if self.environment.is_alive(process)]
        known = [token.value.decode() for worker in living for token in (worker.holds, worker.asks)]
        names = [worker.name for worker in living]
        for job_id in self.huey.ledger.give_back_unheard(self.id, names, known, self.huey.lease_s / 2):
            logger.warning("Job %s goes back to the queue: its claim was not heard of.", job_id)

    def _sweep(self) -> None:
        """What every consumer does for all: queue what is due, and take back what a dead consumer held.

        Others get a full lease to renew after this consumer came (back) into touch: an outage must rescue nothing that
        lives.
        """
        until = time.monotonic() + TURN
        while self.huey.ledger.promote() == SWEEP_LIMIT and time.monotonic() < until:
            pass
        if self._in_touch_since is not None and self._last_contact - self._in_touch_since >= self.huey.lease_s:
            for job_id in self.huey.ledger.rescue(self._held()):
                logger.warning("Job %s is taken back: nobody renewed its lease.", job_id)
            self._fail_unknown()

    def _fail_unknown(self) -> None:
        age_s = max(self.huey.unknown_after_s, self.huey.lease_s)  # in which whoever lives has been seen
        if time.monotonic() < self._swept_unknown_at + min(SWEEP_UNKNOWN, age_s):
            return
        failed = self.huey.ledger.fail_unknown(age_s)
        for job_id in failed:
            logger.warning("Job %s fails: no worker knows its task.", job_id)
        if len(failed) < SWEEP_LIMIT:  # else there are more, for the next sweep
            self._swept_unknown_at = time.monotonic()

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
        held = self.huey.ledger.held(self.id)
        now = time.monotonic()
        self._gone = {token: self._gone.get(token, now) for token in holding.keys() - held}
        for token, since in self._gone.items():
            if now >= since + CANCEL_GRACE:
                logger.warning(
                    "Worker process %s does not let go of a job that is not its own; killing it.", holding[token].pid
                )
                holding[token].kill()
            else:
                self._signal(holding[token], DurableProcesses.LOOK_AGAIN)

    def _end_the_overdue(self) -> None:
        for worker, process in self.worker_threads:
            token, deadline = (
                worker.holds.value.decode(),
                worker.deadline.value,
            )  # in this order: a later job's is later
            if not deadline or not token or time.monotonic() < deadline + TIMEOUT_GRACE:
                continue
            if self.huey.ledger.time_out(token):
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
            self.bell.listen()  # again, as the fork has closed it

    def _bury(self, worker: DurableWorker, process: Any) -> None:
        """What a dead worker held goes back to the queue at once."""
        try:
            jobs = self.huey.ledger.lose_worker(self.id, worker.name)
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
        self.bell.knock()
        self._renewed_at = 0.0  # the ledger is told at once that it drains
        until = (self._told_at or time.monotonic()) + self.grace_s if graceful else 0.0
        logger.info("Consumer %s stops; running jobs have %s s to end.", self.id, self.grace_s if graceful else 0)
        while self._alive() and (left := until - time.monotonic()) > 0 and self._interrupted < 2:
            self._turn(min(TURN, left))
        for worker, process in self.worker_threads:
            if not self.environment.is_alive(process):
                self._bury(worker, process)
        with contextlib.suppress(DatabaseUnavailable):
            for job_id in self.huey.ledger.give_back(self.id):
                logger.info("Job %s goes back to the queue: the consumer stops before it has ended.", job_id)
            self.huey.ledger.leave(self.id)
        self._kill_workers()

    def _held(self) -> list[str]:
        """The tokens that living workers hold, or will hold once they have the answer and what the job is given.

        One that was stopped (SIGSTOP) does nothing with its own, and may never.
        """
        return [
            token.value.decode()
            for worker, process in self.worker_threads
            for token in (worker.holds, worker.asks)
            if token.value and self.environment.is_alive(process) and not is_stopped(process)
        ]

    def _alive(self) -> list[Any]:
        return [process for _, process in self.worker_threads if self.environment.is_alive(process)]

    def _kill_workers(self) -> None:
        """End worker processes: those with a job are told first, so that their tasks can clean up."""
        if not self.environment.forks:
            return
        for process in self._alive():
            self._signal(process, DurableProcesses.LOOK_AGAIN)
        until = time.monotonic() + 0.5
        for process in self._alive():
            process.join(max(0.0, until - time.monotonic()))
            process.kill()
            process.join()

    @staticmethod
    def _signal(process: Any, signum: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signum)
