"""DurableHuey: Huey on the ledger.

Tasks, calls, pipelines, chords, signals and hooks are Huey's own. What differs is when things are written: a submit is
one transaction with everything that follows from it, and an attempt's end is one with its result, its retry and what it
enqueued. What Huey does after a task has returned is collected on the claim, and committed by `_finish`.
"""

import contextlib
import functools
import importlib
import importlib.util
import logging
import os
import pkgutil
import random
import re
import secrets
import socket
import sys
import threading
import traceback
import uuid
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from huey import signals
from huey.api import Huey, PeriodicTask, Task, TaskWrapper, chord, group
from huey.constants import WORKER_PROCESS, WORKER_THREAD, EmptyData
from huey.exceptions import RateLimitExceeded, RetryTask
from huey.registry import Message
from huey.utils import SKIPPED

from jobqueue import codec, interrupts
from jobqueue.bell import bell
from jobqueue.caps import Caps, at_least_one
from jobqueue.checks import Check, checks
from jobqueue.claim import TELLING, Claim, TaskExited, ending_claim, working_on
from jobqueue.context import ClaimedJob, current_job, working_for
from jobqueue.database import MEMORY, Database, DatabaseUnavailable, Row, storable
from jobqueue.dataset import KEEP, Dataset, Moment
from jobqueue.handle import Job, JobHandle, JobNotFound, Unreadable, value_of
from jobqueue.history import Event, events
from jobqueue.hot import HotCopies
from jobqueue.ledger import MAX_LOSSES, Asking, FenceRefused, Ledger, NewJob, Outcome, Retry, State, error_result
from jobqueue.logs import LogLine, logged, read
from jobqueue.plan import Plan, QueueUnavailable, as_result
from jobqueue.pruning import KEEP_DAYS, KEEP_JOBS
from jobqueue.registry import DurableRegistry
from jobqueue.rules import Minutes
from jobqueue.schedule import Schedule, Where, find_zone
from jobqueue.signing import KeyRing, development_key
from jobqueue.storage import LedgerStorage
from jobqueue.task import DurableTaskWrapper, seconds
from jobqueue.timetable import ScheduleLook, ScheduleNotFound, Timetable
from jobqueue.workers import Worker, code_version, workers

logger = logging.getLogger("jobqueue.huey")

T = TypeVar("T")

LEASE = 15  # seconds that a claim holds unless it is renewed
RENEW = 5  # seconds between renewals
GRACE = 25  # seconds that running jobs may go on after SIGTERM
TOGETHER = 1000  # jobs that enqueue_many accepts in one transaction, and what follows them
MAX_ARGUMENTS = 1_000_000  # bytes of a job's message
MAX_RESULT = 64_000_000  # bytes of a result, or of a step's value
UNKNOWN_AFTER = 3600  # seconds that a job may wait for code that has its task
LONGEST_PAUSE = 3600  # seconds between two attempts to which a backoff may grow
JITTER = 0.1  # of a pause: what failed together is not tried again together
BACKGROUND = re.compile(r"\bbackground\s*=(?!=)")  # in a callback


class DurableHuey(Huey):
    """Huey whose queue, schedule, results, locks and counters are one ledger in a SQL database.

    :param name: of the queue, for example the app's.
    :param database_url: `postgresql://user:password@host/name`, in any form that hosts hand out, or
        `sqlite:////abs/path.sqlite`; by default a file under var/ in the working directory.
    :param redis_url: `redis://` or `rediss://`: wakes idle workers. Without it Postgres does, or a look at the SQLite file.
    :param tasks_in: the package whose modules hold the tasks; a consumer imports them all.
    :param dash_app: the module that makes the Dash app; a consumer imports it where that makes a HueyManager, and a callback in
        its folder is one of the background.
    :param secret_key: signs messages. If none is given one is made at first use, beside the SQLite file, or under var/ in
        the working directory, which is right on one's own machine alone.
    :param secret_key_fallbacks: earlier keys, under which waiting jobs were signed.
    :param lease_s: seconds that a claim holds unless it is renewed.
    :param renew_s: seconds between renewals.
    :param grace_s: seconds that running jobs may go on after SIGTERM, before they are given back.
    :param max_losses: workers that may die on one job before it fails as poison.
    :param unknown_after_s: seconds that a job may wait for a consumer whose code has its task, before it fails.
    :param per_owner: how many jobs of one owner may run at once, across all consumers; None for as many as there are workers.
    :param max_arguments: bytes that a job's arguments may take.
    :param max_result: bytes that a job's result, or a step's value, may take.
    :param keep_days: days after its end in which a job is kept, with its result; 0 or None keeps it for ever.
    :param keep_jobs: the newest jobs that are kept, however many days; 0 or None keeps them all.
    :param version: of the code, as `workers` tells it; by default what the host says in the environment.
    :param timezone: of schedules that have none of their own: an IANA name.
    :param place: of schedules by the sun that have none: a city that astral knows, or degrees north and east.
    :param huey_kwargs: Huey's own: results, store_intermediate_errors, utc, immediate.

    Nothing touches the disk or the network before the first use.
    """

    storage: LedgerStorage

    def __init__(
        self,
        name: str = "huey",
        database_url: str | None = None,
        redis_url: str | None = None,
        *,
        tasks_in: str | None = None,
        dash_app: str | None = None,
        secret_key: str | None = None,
        secret_key_fallbacks: Sequence[str] = (),
        lease_s: float = LEASE,
        renew_s: float = RENEW,
        grace_s: float = GRACE,
        max_losses: int = MAX_LOSSES,
        unknown_after_s: float = UNKNOWN_AFTER,
        per_owner: int | None = None,
        max_arguments: int = MAX_ARGUMENTS,
        max_result: int = MAX_RESULT,
        keep_days: float | None = KEEP_DAYS,
        keep_jobs: int | None = KEEP_JOBS,
        version: str | None = None,
        timezone: str = "UTC",
        place: Where | None = None,
        **huey_kwargs: Any,
    ) -> None:
        self.database_url = database_url or f"sqlite:///{Path('var', name).absolute()}.sqlite"
        self.redis_url = redis_url
        self.tasks_in = tasks_in
        self.dash_app = dash_app
        self.lease_s = lease_s
        self.renew_s = renew_s
        self.grace_s = grace_s
        self.max_losses = max_losses
        self.unknown_after_s = unknown_after_s
        self.caps = Caps(per_owner=at_least_one("per_owner", per_owner))
        self.max_arguments = max_arguments
        self.max_result = max_result
        self.keep_days = keep_days
        self.keep_jobs = keep_jobs
        self.version = version or code_version()
        self.timezone = find_zone(timezone)
        self.place = place
        self._secret_key = secret_key
        self._key_file = _key_file(Database(self.database_url))
        self._throw_away_key = secrets.token_hex()
        self._one_at_a_time = threading.RLock()
        self._when_discovered: list[Callable[[], None]] = []
        self.datasets: dict[str, Dataset[Any]] = {}  # that this code knows, by their names
        self._secret_key_fallbacks = secret_key_fallbacks
        huey_kwargs.setdefault("serializer", KeyRing(self.signing_keys))
        super().__init__(name, **huey_kwargs)
        self._registry = DurableRegistry()

    @property
    def ledger(self) -> Ledger:
        return self.storage.ledger

    def signing_keys(self) -> list[str]:
        """The key that signs, and those before it."""
        if self._secret_key:
            return [self._secret_key, *self._secret_key_fallbacks]
        if self._key_file is None or self.immediate:
            return [self._throw_away_key]
        return [development_key(self._key_file)]

    def get_storage(self, **kwargs: Any) -> LedgerStorage:
        return self._storage_on(self.database_url)

    def get_immediate_storage(self) -> LedgerStorage:
        return self._storage_on(MEMORY)

    def _storage_on(self, database_url: str) -> LedgerStorage:
        database = Database(database_url)
        ledger = Ledger(database, self.max_losses, self.caps)
        rung = bell(database, self.redis_url, self.name)
        hot = HotCopies(self.redis_url, self.name) if self.redis_url and not database.in_memory else None
        return LedgerStorage(
            self.name, ledger, rung, self._result_bytes, self._submit_message, self._claim_message, hot
        )

    def get_task_wrapper_class(self) -> type[TaskWrapper]:
        return DurableTaskWrapper

    def periodic_task(self, validate_datetime: Callable[[datetime], bool], *args: Any, **options: Any) -> Any:
        """Huey's: when it runs say `every(...)`, `cron(...)`, Huey's `crontab(...)`, or a function that is asked each minute.

        Raises ValueError where a schedule needs a place, and there is none.
        """
        when = validate_datetime
        schedule = when if isinstance(when, Schedule) else Schedule(rule=Minutes(when, self._from_epoch))
        return super().periodic_task(when, *args, schedule=schedule.bound(self.timezone, self.place), **options)

    def dataset(
        self,
        schedule: Callable[[datetime], bool],
        *,
        stale_after: float | str | timedelta | None = None,
        keep: int = KEEP,
        as_of: Callable[[Any], Moment] | None = None,
        **options: Any,
    ) -> Callable[[Callable[[], T]], Dataset[T]]:
        """What the function returns, at each time of the schedule, is the dataset's next version; `.read()` gives the newest.

        :param schedule: as for `periodic_task`: every("15 minutes").
        :param stale_after: "1 hour", seconds or a timedelta, after which its content counts as stale.
        :param keep: so many versions.
        :param as_of: from a value, of when it is: `lambda prices: prices.index[-1]`. By default of when it was saved.
        :param options: of the periodic task: retries, retry_delay, timeout, name.
        """

        def decorate(function: Callable[[], T]) -> Dataset[T]:
            made = Dataset(self, function, schedule, stale_after=stale_after, keep=keep, as_of=as_of, **options)
            self.datasets[made.name] = made
            return made

        return decorate

    def create_consumer(self, **options: Any) -> Any:
        """Huey's, with Huey's options. Workers are processes on Linux and threads elsewhere, unless `worker_type` says.

        `queues`: those that its workers serve, as "interactive,heavy:1" or a list of such parts: `heavy:1` is served by one
        of the workers at most, `interactive` by all of them. Without it every worker serves every queue. Raises ValueError
        for another form, and where a worker would serve none.
        """
        from jobqueue.consumer import DurableConsumer

        self.discover()
        options.setdefault("worker_type", WORKER_PROCESS if sys.platform == "linux" else WORKER_THREAD)
        return DurableConsumer(self, **options)

    def discover(self) -> None:
        """Import every module of the package that holds the tasks, so that all of them are known.

        The Dash app's module and its pages too, where there are background callbacks, which are jobs: a worker without any
        is spared the memory, and the mistakes of pages.
        """
        if self.tasks_in is not None:
            package = importlib.import_module(self.tasks_in)
            for module in pkgutil.iter_modules(package.__path__):
                importlib.import_module(f"{self.tasks_in}.{module.name}")
        if self.dash_app is not None and _has_background_callbacks(self.dash_app):
            importlib.import_module(self.dash_app)
        for tell in self._when_discovered:
            tell()

    def when_discovered(self, tell: Callable[[], None]) -> None:
        """Have it called whenever a consumer has imported all that it knows of."""
        self._when_discovered.append(tell)

    def migrate(self) -> None:
        """Bring the ledger's schema to head now; otherwise its first use does."""
        self.ledger.database.migrate()

    def check(self) -> list[Check]:
        """What the queue rests on, and whether it answers."""
        return checks(self)

    # --- schedules ---

    def schedules(self) -> list[ScheduleLook]:
        """Of all periodic tasks of this code, by name."""
        return Timetable(self.ledger).look({name: task.schedule for name, task in self.periodic_tasks().items()})

    def periodic_tasks(self) -> dict[str, type[PeriodicTask]]:
        """The classes, by the names that Huey registers."""
        return {self._registry.task_to_string(task): task for task in self._registry._periodic_tasks}

    def pause_schedule(self, name: str) -> bool:
        """Nothing of it is due until it is resumed, whoever is started meanwhile. False if it was paused already.

        `name`: the task's, full or short. Raises ScheduleNotFound.
        """
        name = self._schedule_name(name)
        timetable = Timetable(self.ledger)
        timetable.register({name: str(self.periodic_tasks()[name].schedule)})
        return timetable.pause(name)

    def resume_schedule(self, name: str) -> bool:
        """What was due while it was paused is not made up. False if it was not paused. Raises ScheduleNotFound."""
        return Timetable(self.ledger).resume(self._schedule_name(name))

    def run_schedule(self, name: str) -> JobHandle:
        """Submit its job now, besides what is due. Raises ScheduleNotFound."""
        task = self.periodic_tasks()[self._schedule_name(name)]()
        self.enqueue(task)
        return JobHandle(self, task)

    def _schedule_name(self, name: str) -> str:
        names = [full for full in self.periodic_tasks() if name in (full, full.rpartition(".")[2])]
        if len(names) != 1:
            there = ", ".join(sorted(names or self.periodic_tasks())) or "none"
            found = "Several schedules have" if names else "No schedule has"
            raise ScheduleNotFound(f"{found} the name {name!r}. There are: {there}.")
        return names[0]

    # --- looking at jobs ---

    def job(self, job_id: str) -> JobHandle:
        """A job's handle. Raises JobNotFound."""
        self.look(job_id)
        return JobHandle(self, Task(id=job_id))

    def look(self, job_id: str) -> Job:
        """Raises JobNotFound."""
        return self._as_job(self._row(job_id))

    def ahead(self, job_id: str, most: int = 1000) -> int | None:
        """How many jobs of its queue are to be claimed before this one, as things are, counted to `most`.

        None if it is not queued. It is a place in one queue: a worker that serves several takes turns between them, and
        higher priorities of the others first. Where owners take turns, the place of a job is settled when it is submitted,
        but somebody with nothing in the queue still comes in at its front: so the number may grow. Counted too are
        jobs that have to wait for a cap, or for a worker which knows their task.
        """
        return self.ledger.ahead(job_id, most)

    def _row(self, job_id: str, read: Callable[[str], Row | None] | None = None) -> Row:
        row = None
        if isinstance(job_id, str) and job_id == storable(job_id):  # an id from an address bar may be anything
            row = (read or self.ledger.look)(job_id)
        if row is None:
            raise JobNotFound(f"No job has the id {job_id!r}.")
        return row

    def history(self, job_id: str) -> list[Event]:
        """What happened to a job, oldest first. Raises JobNotFound."""
        return events(self._row(job_id, self.ledger.history))

    def log(self, job_id: str) -> list[LogLine]:
        """The last lines that a job logged, oldest first. Raises JobNotFound."""
        return read(self._row(job_id, self.ledger.log)["lines"] or "")

    def jobs(
        self,
        task: TaskWrapper | str | None = None,
        state: State | None = None,
        owner: str | None = None,
        limit: int = 50,
    ) -> list[Job]:
        """Jobs, newest first; `task` as its function or its full name."""
        if isinstance(task, TaskWrapper):
            task = self.name_of(task)
        return [self._as_job(row) for row in self.ledger.jobs(task=task, state=state, owner=owner, limit=limit)]

    def workers(self) -> list[Worker]:
        """The workers of all consumers that live."""
        alive = [row for row in self.ledger.consumers() if row["silent_s"] < self.lease_s]
        return workers(alive, self.ledger.held_by([row["id"] for row in alive]))

    def tasks_by_name(self) -> dict[str, type[Task]]:
        """The classes of the tasks that this process knows, by their full names."""
        return dict(self._registry._registry)

    def name_of(self, task: TaskWrapper) -> str:
        """A task's full name, as in Job.task."""
        return str(self._registry.task_to_string(task.task_class))

    def put_back(self, job_id: str) -> bool:
        """Try a failed or cancelled job again."""
        put_back = self.ledger.put_back(job_id)
        self._run_immediately()
        return put_back

    def again(self, job_id: str, new_id: str | None = None) -> JobHandle:
        """Submit once more what a job was asked, as a job of its own, of whoever submits it. Raises JobNotFound, Unreadable."""
        old, task = self._row(job_id), self.task_of(job_id)
        task.owner = current_job().owner or old["owner"]
        task.queue, task.unique_key = old["queue"], old["unique_key"]
        task.unique, task.cache_for = task.unique_key is not None, None
        task.id = new_id or task.create_id()
        task.revoke_id = f"r:{task.id}"
        task.eta = None
        handle: JobHandle = self.enqueue(task)
        return handle

    def _as_job(self, row: Row) -> Job:
        def arguments() -> tuple[tuple[Any, ...], dict[str, Any]]:
            message: Message = self._read(row, self.serializer.deserialize)
            return tuple(message.args), dict(message.kwargs)

        return Job.from_row(row, arguments)

    def _read(self, row: Row, how: Callable[[bytes], Any]) -> Any:
        try:
            return how(row["message"])
        except Exception as error:
            raise Unreadable(f"What job {row['id']} was asked cannot be read: {error}") from error

    # --- submitting ---

    def enqueue(self, task: Task | group | chord) -> Any:
        """Accept a task, with all that follows from it, in one transaction.

        Raises QueueUnavailable; ArgumentsTooLarge.
        """
        claim = ending_claim()
        if claim is not None and claim.handles(task):  # each attempt's error has a handler of its own
            task.id = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{task.id}:{claim.job.attempt}"))
        plan = Plan(self)
        result = plan.add(task)
        self._submit(plan, [plan.rows])
        return result if self.results else None

    def enqueue_many(self, tasks: Iterable[Task | group | chord]) -> list[Any] | None:
        """Accept many tasks, a thousand in a transaction, each with all that follows from it.

        Returns what `enqueue` does for each, in their order. What cannot be submitted is found before any is accepted. Raises
        ArgumentsTooLarge, and QueueUnavailable with the handles that were `accepted` before the database failed: to call it
        again with the same tasks accepts the others, and doubles none.
        """
        plan, results, parts = Plan(self), list[Any](), list[Sequence[NewJob]]()
        asked = list(tasks)
        for first in range(0, len(asked), TOGETHER):
            known = len(plan.rows)
            results += [plan.add(task) for task in asked[first : first + TOGETHER]]
            parts.append(plan.rows[known:])
        self._submit(plan, parts, results)
        return results if self.results else None

    def task_of(self, job_id: str) -> Task:
        """The task as it was submitted, read from the ledger. Raises JobNotFound, Unreadable."""
        return self._read(self._row(job_id), self.deserialize_task)

    def reschedule(self, old: Task, new: Task, keep_follower: bool) -> Any:
        """Submit a task in place of one that has not ended: what follows the one then follows the other.

        Where the old one has ended, the new one is submitted with what followed it.
        """
        after, new.on_complete = new.on_complete, None
        plan = Plan(self)
        plan.add(new)
        new.on_complete = after
        if not self.ledger.replace(old.id, plan.rows[0], keep_follower):
            return self.enqueue(new)
        plan.accepted()
        self._run_immediately()
        return as_result([JobHandle(self, result.task) for result in self._pipeline_results(new)])

    def _submit(self, plan: Plan, parts: Sequence[Sequence[NewJob]], results: Sequence[Any] = ()) -> None:
        """Accept the rows of each part together. `results`: what is returned for them, TOGETHER a part."""
        claim = ending_claim()
        if claim is not None:
            claim.submitted.extend(plan.rows)
            plan.accepted()
            return
        current_job().submitting(sum(map(len, parts)))
        for number, rows in enumerate(parts):
            try:
                current_job().patiently(functools.partial(self.ledger.submit, rows))  # once, however often it is tried
            except DatabaseUnavailable as error:
                accepted = results[: number * TOGETHER]
                got = f"only the first {len(accepted)} of {len(results)} tasks were" if accepted else "nothing was"
                raise QueueUnavailable(
                    f"The database does not answer, so {got} submitted. Try again in a moment. ({error})", accepted
                ) from error
        plan.accepted()
        self._run_immediately()

    def _submit_message(self, data: bytes, priority: float | None, ts: datetime | None) -> None:
        """A message that comes from elsewhere (Huey's storage interface)."""
        task = self.deserialize_task(data)
        task.priority = task.priority if priority is None else priority
        task.eta = task.eta if ts is None else ts
        self.enqueue(task)

    # --- claiming ---

    def dequeue(self) -> Task | None:
        """Claim the next job, on behalf of whoever calls; a consumer's workers use `claim`."""
        me = f"{socket.gethostname()}-{os.getpid()}"
        return self.claim(me, threading.current_thread().name)

    def claim(
        self,
        consumer: str,
        worker: str,
        tell: Callable[[str], object] = lambda token: None,
        queues: Sequence[str] | None = None,
        lately: Sequence[str] = (),
    ) -> Task | None:
        """Claim the next due job of a task that this code knows. None where there is none.

        `tell` is told the token before the ledger is asked. `queues`, `lately`: as in Asking.
        """
        while True:
            asking = self.asking(consumer, worker, tell, queues, lately)
            row = self.ledger.claim(asking)
            if row is None:
                return None
            if (task := self.claimed(row, asking.token)) is not None:
                return task

    def asking(
        self,
        consumer: str,
        worker: str,
        tell: Callable[[str], object],
        queues: Sequence[str] | None,
        lately: Sequence[str],
    ) -> Asking:
        """What `claim` asks the ledger for; `tell` is told the token."""
        token = uuid.uuid4().hex
        tell(token)
        return Asking(
            tasks=list(self._registry._registry),
            token=token,
            consumer=consumer,
            worker=worker,
            lease_s=self.lease_s,
            queues=queues,
            lately=lately,
        )

    def claimed(self, row: Row, token: str) -> Task | None:
        """The task to execute for a row that the ledger gave under this token. None if it cannot be read, and has failed."""
        job = ClaimedJob(self.ledger, row["id"], token, row["attempt"], row["owner"], self.max_result)
        claim = Claim(row, token, job)
        try:
            task = self.deserialize_task(row["message"])
            self._give_input(task, row)
        except DatabaseUnavailable:
            with contextlib.suppress(DatabaseUnavailable):
                self.ledger.give_back_one(row["id"], token)
            raise
        except Exception as error:
            logger.exception("Job %s cannot be read.", row["id"])
            sentence = f"The job cannot be read, and was not run: {error}"
            result = error_result(sentence, row["id"], traceback.format_exc())
            self._write_end(claim, Outcome(state=State.FAILED, error=sentence, result=result))
            return None
        task.eta = None
        task.retries = row["retries"]
        task.retry_delay = row["retry_delay"]
        task.expires_resolved = None  # a job that was begun in time is kept
        if row["expires_at"] is not None and row["attempt"] == 1:
            task.expires_resolved = self._from_epoch(row["expires_at"])
        task.claim = claim
        claim.task = task
        return task

    def _run_immediately(self) -> None:
        """In immediate mode a submit runs what it queued, and what that queues, before it returns."""
        if self.immediate:
            with self._one_at_a_time:  # what another thread has claimed has ended when this one goes on
                while (task := self.claim("immediate", uuid.uuid4().hex)) is not None:
                    self.execute(task)

    def _claim_message(self) -> bytes | None:
        task = self.dequeue()
        return None if task is None else self.serialize_task(task)

    def _give_input(self, task: Task, row: Row) -> None:
        """A pipeline's next task is given the result before it, a chord's callback the list of its members' results."""
        if row["chord_size"] is not None:
            members = self.ledger.members(row["id"])
            if len(members) != row["chord_size"]:
                raise LookupError(f"only {len(members)} of its chord's {row['chord_size']} members are left")
            task.extend_data(([_member_value(member) for member in members],))
        elif row["follows"] is not None:
            before = self.ledger.result(row["follows"])
            if before is None:
                raise LookupError(f"the job before it, {row['follows']}, is gone")
            task.extend_data(value_of(before))

    # --- running ---

    def execute(self, task: Task, timestamp: datetime | None = None) -> Any:
        claim: Claim | None = getattr(task, "claim", None)
        if claim is None:
            return super().execute(task, timestamp)
        task.execute = lambda: self._run(claim, task)
        before = working_on.set(claim)
        with working_for(claim.job), logged(self.ledger, claim.job, claim.now):
            try:
                return super().execute(task, self._from_epoch(claim.now))
            except Exception as error:  # not the task's: a handler that cannot be pickled, say
                logger.exception("Job %s could not be ended as Huey would.", claim.id)
                claim.exception = claim.exception or error
                claim.failure = claim.failure or self.build_error_result(task, error)
                claim.signal = signals.SIGNAL_ERROR
                if task.retries and claim.retry is None:
                    self._requeue_task(task, self._from_epoch(claim.now))
            finally:
                try:
                    self._finish(claim)
                finally:
                    working_on.reset(before)
        return None

    def _run(self, claim: Claim, task: Task) -> Any:
        """The task's own code: all that may be interrupted."""
        claim.job.deadline, claim.job.timeout_s = task._deadline, task.timeout
        try:
            claim.started = True
            interrupts.expose(claim.token)
            claim.job.check_time()
            value = type(task).execute(task)
            if claim.value_is_wanted or (self.results and not isinstance(task, PeriodicTask)):
                claim.value = codec.encode(value, self.max_result)
            return value
        except codec.ResultNotEncodable as error:
            task.retries = 0  # the next attempt would return the same
            claim.exception = error
            raise
        except interrupts.OutOfTime as error:
            claim.exception = claim.job.timed_out()
            raise claim.exception from error
        except (Exception, KeyboardInterrupt) as error:
            claim.exception = error
            raise
        except BaseException as error:
            claim.exception = TaskExited(f"The task left with {error!r}.")
            raise claim.exception from error
        finally:
            interrupts.shield()
            claim.ending = True

    def _finish(self, claim: Claim) -> None:
        """Write the end, and with it everything that was collected."""
        outcome = claim.outcome()
        if outcome is not None:
            if claim.job.log is not None:
                outcome.log = claim.job.patiently(claim.job.log.unwritten)
            if not self._end_and_claim(claim, outcome):
                self._write_end(claim, outcome)
        elif isinstance(claim.exception, interrupts.ClaimLost):
            logger.info("Job %s was cancelled, or taken back, while it ran.", claim.id)
        elif self.immediate:
            self.ledger.cancel(claim.id, "Interrupted.")
        else:
            if claim.job.log is not None:
                claim.job.log.write()
            self._until_written(claim, lambda: self.ledger.lose(claim.id, claim.token, "interrupted from within"))

    def _end_and_claim(self, claim: Claim, outcome: Outcome) -> bool:
        """Write the end and claim the worker's next job in one trip. False if the end is not written, and has to be by itself."""
        if claim.is_followed or not self.ledger.may_end_and_claim(outcome, list(self._registry._registry)):
            return False
        asking = claim.ask_next()
        if asking is None:
            return False
        claim.unsure = True
        try:
            written, row = self.ledger.end_and_claim(claim.id, claim.token, outcome, asking)
        except Exception as error:  # whatever it says of the claim, the end is written first
            logger.warning("The end of job %s is written by itself: %s", claim.id, error)
            return False
        claim.unsure = False
        claim.next = None if row is None else (row, asking.token)
        return written

    def _write_end(self, claim: Claim, outcome: Outcome) -> None:
        written = False
        try:
            written = self._until_written(claim, lambda: self.ledger.end(claim.id, claim.token, outcome))
        except Exception as error:  # not the connection: this end itself cannot be written
            logger.exception("The end of job %s cannot be written.", claim.id)
            failed = Outcome(state=State.FAILED, error=f"The job ran, but its end could not be written: {error}")
            failed.result = error_result(failed.error, claim.id, traceback.format_exc())
            self._until_written(claim, lambda: self.ledger.end(claim.id, claim.token, failed))
        if written and outcome.version is not None and self.storage.hot is not None:
            self.storage.hot.put(outcome.version.name, outcome.version.body)

    def _until_written(self, claim: Claim, write: Callable[[], object]) -> bool:
        """Try until it is written or refused: a worker that forgot an end would leave its job to be run again."""
        try:
            claim.job.patiently(write)
            return True
        except FenceRefused:
            logger.warning("Job %s ended elsewhere: what this attempt did is dropped.", claim.id)
            return False

    # --- what Huey does with an attempt's end, collected ---

    def _emit(self, signal: str, task: Task, *args: Any, **kwargs: Any) -> None:
        claim: Claim | None = getattr(task, "claim", None)
        if claim is not None and signal in TELLING:
            claim.signal = signal
            claim.ending = True
        super()._emit(signal, task, *args, **kwargs)

    def build_error_result(self, task: Task, exception: BaseException) -> dict[str, Any]:
        exception.__traceback__ = _from_the_task(exception.__traceback__)
        metadata: dict[str, Any] = super().build_error_result(task, exception)
        claim: Claim | None = getattr(task, "claim", None)
        if claim is not None:
            claim.failure = metadata
            claim.exception = claim.exception or exception
        return metadata

    def put_result(self, key: str, data: Any) -> None:
        claim = ending_claim()
        if claim is None or key != claim.id:
            super().put_result(key, data)

    def delete(self, key: str) -> Any:
        claim = working_on.get()
        if claim is None:
            return super().delete(key)
        if claim.started and not claim.ending:
            return claim.job.patiently(lambda: self.ledger.release(key, claim.token))
        claim.deleted.append(key)  # a revocation that this attempt uses up is used up when it ends
        return True

    def revoke(self, task: Any, revoke_until: Any = None, revoke_once: bool = False) -> None:
        """Huey's; a unique job goes on for others who have asked for the same."""
        if not self.ledger.let_go(task.id):
            super().revoke(task, revoke_until, revoke_once)

    def is_revoked(self, task: Any, timestamp: datetime | None = None, peek: bool = True) -> bool:
        claim: Claim | None = getattr(task, "claim", None)
        if claim is not None and not claim.revoked:
            return False  # as the claim itself has seen
        return bool(super().is_revoked(task, timestamp, peek))

    def _requeue_task(self, task: Task, timestamp: datetime, retry_eta: datetime | None = None) -> None:
        """The next attempt is the same job: its pause is counted by the ledger's clock."""
        claim: Claim = task.claim
        task.retries -= 1
        exception, at, delay, next_delay = claim.exception, None, 0.0, task.retry_delay
        if isinstance(exception, RateLimitExceeded):
            delay = task.retry_delay or exception.delay
        elif isinstance(exception, RetryTask) and exception.delay is not None:
            delay = seconds(exception.delay)
        elif retry_eta is not None:
            at = self._to_epoch(retry_eta)
        elif task.retry_delay:
            delay = task.retry_delay * random.uniform(1, 1 + JITTER)
            next_delay = min(task.retry_delay * (task.retry_backoff or 1), max(task.retry_delay, LONGEST_PAUSE))
        claim.retry = Retry(delay=delay, at=at, retries=task.retries, retry_delay=next_delay)
        logger.info("Job %s is tried again; %s retries are left after that.", claim.id, task.retries)
        self._emit(signals.SIGNAL_SCHEDULED if at or delay else signals.SIGNAL_ENQUEUED, task)

    # --- results, locks, times ---

    def result(self, id: str, *args: Any, **kwargs: Any) -> Any:
        return JobHandle(self, Task(id=id)).get(*args, **kwargs)

    def _result_handle(self, task: Task) -> JobHandle:
        return JobHandle(self, task)

    def _result_bytes(self, key: str) -> Any:
        """A job's result as Huey would have stored it, for those who ask the storage."""
        value = JobHandle(self, Task(id=key))._get()
        return value if value is EmptyData else self.serializer.serialize(value)

    def flush_locks(self, *names: str) -> set[str]:
        """Only locks that no living job holds: those of a consumer that was killed."""
        keys = {*self._locks, *(f"{self.name}.lock.{name.strip()}" for name in names)}
        return {key.split(".lock.", 1)[-1] for key in keys if self.ledger.delete_stale_lock(key)}

    def _to_epoch(self, moment: datetime) -> float:
        """Huey's naive times are UTC, or the host's local time with utc=False."""
        return (moment.replace(tzinfo=UTC) if self.utc else moment).timestamp()

    def _from_epoch(self, seconds: float) -> datetime:
        return (
            datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None) if self.utc else datetime.fromtimestamp(seconds)
        )


def _has_background_callbacks(module: str) -> bool:
    """Whether a Dash app's module mentions a HueyManager, and a file in its folder a callback for that. None of it is run.

    A module that is in no package may have its callbacks anywhere.
    """
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        return False
    path = Path(spec.origin)
    if "HueyManager" not in _source(path) or "." not in module:
        return "HueyManager" in _source(path)
    return any(BACKGROUND.search(_source(other)) for other in path.parent.rglob("*.py"))


def _source(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def _key_file(database: Database) -> Path | None:
    """Where a key for development is kept; None for a ledger in memory, which nobody shares."""
    if database.in_memory:
        return None
    return (database.path or Path("var", "ledger").absolute()).with_name("secret_key")


def _member_value(member: Row) -> Any:
    """What a chord's callback is given for a member: its result, its error, or Huey's SKIPPED."""
    if member["state"] == State.SUCCEEDED or member["media_type"] is not None:
        return value_of(member)
    return SKIPPED


def _from_the_task(trace: TracebackType | None) -> TracebackType | None:
    """A traceback from the task's own code on: how it was called interests nobody."""
    inner = trace
    while inner is not None and inner.tb_frame.f_globals.get("__name__", "").partition(".")[0] in ("huey", "jobqueue"):
        inner = inner.tb_next
    return inner or trace
