"""DurableHuey: a Huey whose queue is a ledger in a SQL database.

Tasks, calls, pipelines, chords, signals and hooks are Huey's own. Only the transactions differ. A submit is one transaction with
all jobs that follow. The end of an attempt is one transaction with its result, its retry and the jobs that it submitted. This
module holds the entry points to each package; `overrides` holds the methods that Huey itself calls.
"""

import secrets
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from huey.api import PeriodicTask, Task, TaskWrapper, chord, group
from huey.constants import WORKER_PROCESS, WORKER_THREAD

from jobqueue.consumer.consumer import DurableConsumer
from jobqueue.consumer.pruner import KEEP_DAYS, KEEP_JOBS
from jobqueue.database.database import MEMORY, Database
from jobqueue.datasets.cache import DatasetCache
from jobqueue.datasets.dataset import KEEP, Dataset, Moment
from jobqueue.execution.executor import Executor
from jobqueue.execution.job_log import LogLine
from jobqueue.files.files import MAX_FILE
from jobqueue.jobs.handle import JobHandle
from jobqueue.jobs.history import Event
from jobqueue.jobs.job import Job
from jobqueue.jobs.reader import JobReader
from jobqueue.ledger.ledger import MAX_LOSSES, Ledger
from jobqueue.ledger.limits import ConcurrencyLimits, check_limit
from jobqueue.ledger.records import NewVersion
from jobqueue.ledger.states import State
from jobqueue.messages.messages import Messages
from jobqueue.messages.registry import DurableRegistry
from jobqueue.messages.signing import KeyRing, development_key, development_key_file
from jobqueue.monitoring.health import Check, health_checks
from jobqueue.monitoring.workers import Worker, code_version, live_workers
from jobqueue.notifier.notifier import notifier_for
from jobqueue.reports.declaring import ReportTasks
from jobqueue.schedules.recurrence import Minutes
from jobqueue.schedules.schedule import Schedule, Where, find_zone
from jobqueue.schedules.timetable import ScheduleStatus, Timetable, full_name
from jobqueue.storage import LedgerStorage
from jobqueue.tasks.discovery import Discovery
from jobqueue.tasks.submitter import Submitter

T = TypeVar("T")

LEASE = 15  # seconds that a claim holds unless it is renewed
RENEW = 5  # seconds between renewals
GRACE = 25  # seconds that running jobs may continue after SIGTERM
MAX_ARGUMENTS = 1_000_000  # bytes of a job's message
MAX_RESULT = 64_000_000  # bytes of a result, or of a step's value
UNKNOWN_AFTER = 3600  # seconds that a job may wait for a consumer whose code has its task


class DurableHuey(ReportTasks):
    """Huey whose queue, schedule, results, locks and counters are one ledger in a SQL database.

    Example::

        huey = DurableHuey("app", os.environ["DATABASE_URL"], tasks_in="app.jobs", secret_key=os.environ["SECRET_KEY"])

        @huey.task(retries=2)
        def analyse(tickers): ...

        handle = analyse(["AAPL", "MSFT"])   # in the web process

    Run the workers with Huey's own script: `huey_consumer app.jobs.huey -w 4`.

    :param name: the queue's name, for example the app's.
    :param database_url: `postgresql://user:password@host/name`, in any form that hosting services use, or
        `sqlite:////abs/path.sqlite`. By default a SQLite file under var/ in the working directory.
    :param redis_url: `redis://` or `rediss://`. Redis wakes idle workers and caches datasets. Without it, Postgres wakes the
        workers; with SQLite they poll.
    :param database_pooling: the pooler before the database: "direct", "session", "transaction" or "transaction-unprepared" (see
        `jobqueue.database.pooling`). By default each process finds out.
    :param database_direct_url: the same database without the pooler, for LISTEN and migrations.
    :param tasks_in: the package whose modules define the tasks. A consumer imports all of them.
    :param dash_app: the module that makes the Dash app. A consumer imports it if the app has background callbacks: if its
        source names a HueyManager, and a module in its folder has a callback with `background=`.
    :param secret_key: the key that signs messages. By default a key is made at first use and kept in a file, beside the SQLite
        file or under var/ in the working directory. Use that default on a development machine only.
    :param secret_key_fallbacks: earlier keys, which still verify the messages of waiting jobs.
    :param lease_s: seconds that a claim holds unless it is renewed.
    :param renew_s: seconds between renewals.
    :param grace_s: seconds that running jobs may continue after SIGTERM, before they are released.
    :param max_losses: the number of workers that may die while they run a job, before it fails as poison.
    :param unknown_after_s: seconds that a job may wait for a consumer whose code has its task, before it fails.
    :param per_owner: the number of jobs of one owner that may run at once, across all consumers. None for no limit.
    :param max_arguments: the most bytes of a job's arguments.
    :param max_result: the most bytes of a job's result, or of a step's value.
    :param max_file: the most bytes of one file of `huey.files`.
    :param keep_days: days after its end for which a job and its result are kept. 0 or None for no limit.
    :param keep_jobs: the number of the newest jobs that are kept. 0 or None for no limit.
    :param dask_scheduler: the address of the cluster for `job.dask`. By default processes of the worker's machine.
    :param version: the version of the code, which `workers` reports. By default the commit that the host's environment names.
    :param timezone: an IANA name: the time zone of the pages, and the default for schedules.
    :param place: the default place for schedules by the sun: a city that astral knows, or (degrees north, degrees east).
    :param huey_kwargs: Huey's own options: results, store_intermediate_errors, utc, immediate.

    Raises ValueError for an invalid database_url, redis_url, per_owner or timezone. Nothing opens the database before its first use.
    """

    def __init__(
        self,
        name: str = "huey",
        database_url: str | None = None,
        redis_url: str | None = None,
        *,
        tasks_in: str | None = None,
        dash_app: str | None = None,
        database_pooling: str = "auto",
        database_direct_url: str | None = None,
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
        max_file: int = MAX_FILE,
        keep_days: float | None = KEEP_DAYS,
        keep_jobs: int | None = KEEP_JOBS,
        dask_scheduler: str | None = None,
        version: str | None = None,
        timezone: str = "UTC",
        place: Where | None = None,
        **huey_kwargs: Any,
    ) -> None:
        self.database_url = database_url or f"sqlite:///{Path('var', name).absolute()}.sqlite"
        self.redis_url = redis_url
        self._open_database = partial(Database, pooling=database_pooling, direct_url=database_direct_url)
        self.lease_s, self.renew_s, self.grace_s = lease_s, renew_s, grace_s
        self.max_losses, self.unknown_after_s = max_losses, unknown_after_s
        self.limits = ConcurrencyLimits(per_owner=check_limit("per_owner", per_owner))
        self.max_arguments, self.max_result, self.max_file = max_arguments, max_result, max_file
        self.keep_days, self.keep_jobs, self.dask_scheduler = keep_days, keep_jobs, dask_scheduler
        self.version = version or code_version()
        self.timezone, self.place = find_zone(timezone), place
        self.datasets: dict[str, Dataset[Any]] = {}  # the datasets of this code, by full name
        self._secret_key = secret_key
        self._secret_key_fallbacks = secret_key_fallbacks
        self._key_file = development_key_file(Database(self.database_url))
        self._temporary_key = secrets.token_hex()
        self._discovery = Discovery(tasks_in, dash_app)
        huey_kwargs.setdefault("serializer", KeyRing(self.signing_keys))
        self._immediate_lock = threading.RLock()
        super().__init__(name, **huey_kwargs)
        self._registry = DurableRegistry()
        self.messages = Messages(self._registry, self.serializer, self.utc)
        self.reader = JobReader(lambda: self.ledger, self.messages)
        self.submitter = Submitter(
            lambda: self.ledger,
            self.messages,
            max_arguments=max_arguments,
            emit=self._emit,
            handle=self._result_handle,
            check_name=lambda name: self._check_name(name),
            submitted=lambda: self._run_immediately(),
        )
        self.executor = Executor(
            lambda: self.ledger,
            self.messages,
            self,
            lease_s=lease_s,
            max_arguments=max_arguments,
            max_result=max_result,
            published=self._cache_version,
        )

    def signing_keys(self) -> list[str]:
        """Return the key that signs messages, followed by the earlier keys, which verify them too."""
        if self._secret_key:
            return [self._secret_key, *self._secret_key_fallbacks]
        in_memory = self._key_file is None or self.immediate
        return [self._temporary_key if in_memory else development_key(self._key_file)]

    # --- storage ---

    def get_storage(self, **kwargs: Any) -> LedgerStorage:
        return self._storage_on(self.database_url)

    def get_immediate_storage(self) -> LedgerStorage:
        return self._storage_on(MEMORY)

    def _storage_on(self, database_url: str) -> LedgerStorage:
        database = self._open_database(database_url)
        notifier = notifier_for(database, self.redis_url, self.name)
        ledger = Ledger(database, self.max_losses, self.limits, notifier.notify)
        cache = DatasetCache(self.redis_url, self.name) if self.redis_url and not database.in_memory else None
        return LedgerStorage(
            self.name, ledger, notifier, self._result_bytes, self._submit_message, self._claim_message, cache
        )

    def _cache_version(self, version: NewVersion) -> None:
        if self.storage.dataset_cache is not None:
            self.storage.dataset_cache.put(version.name, version.body)

    def migrate(self) -> None:
        """Migrate the ledger's schema to its newest version now. By default the first use does so.

        Raises DatabaseUnavailable.
        """
        self.ledger.database.migrate()

    def check(self, workers: int = 2) -> list[Check]:
        """Check the database, its connections for so many workers, Redis, the key and the workers. Errors are findings too."""
        keys, notifier, listens = self.serializer, self.storage.notifier, self.redis_url is None
        return health_checks(self.ledger, notifier, keys, lease_s=self.lease_s, listens=listens, workers=workers)

    # --- tasks, schedules and datasets ---

    def discover(self) -> None:
        """Import every module that defines tasks: those of `tasks_in`, and `dash_app` if it has background callbacks."""
        self._discovery.discover()

    def when_discovered(self, hook: Callable[[], None]) -> None:
        """Register a hook to call after `discover` has imported all modules that define tasks."""
        self._discovery.when_discovered(hook)

    def tasks_by_name(self) -> dict[str, type[Task]]:
        """Return the classes of the tasks that this process knows, by full name."""
        return self.messages.tasks_by_name()

    def name_of(self, task: TaskWrapper) -> str:
        """Return a task's full name, such as "app.jobs.analysis.analyse"."""
        return self.messages.name_of(task)

    def periodic_task(self, validate_datetime: Callable[[datetime], bool], *args: Any, **options: Any) -> Any:
        """Decorate a function to run as a job at each due moment of a schedule.

        Example::

            @huey.periodic_task(every("weekday at 18:00"))
            def close_of_day(): ...

        :param validate_datetime: `every(...)`, `cron(...)`, Huey's `crontab(...)`, or a function that is called with each
            minute and returns whether the task is due.
        :param options: as for `task`.

        Raises ValueError if the schedule needs a place and has none.
        """
        when = validate_datetime
        schedule = when if isinstance(when, Schedule) else Schedule(rule=Minutes(when, self.messages.from_epoch))
        return super().periodic_task(when, *args, schedule=schedule.bound(self.timezone, self.place), **options)

    def periodic_tasks(self) -> dict[str, type[PeriodicTask]]:
        """Return the classes of the periodic tasks that this process knows, by full name."""
        return {self._registry.task_to_string(task): task for task in self._registry._periodic_tasks}

    def schedules(self) -> list[ScheduleStatus]:
        """Return the status of every periodic task of this code, by name."""
        return Timetable(self.ledger).status({name: task.schedule for name, task in self.periodic_tasks().items()})

    def pause_schedule(self, name: str) -> bool:
        """Pause a schedule for all consumers until it is resumed. Return False if it was paused already.

        :param name: the task's full or short name.

        Raises ScheduleNotFound, DatabaseUnavailable.
        """
        name = full_name(name, self.periodic_tasks())
        timetable = Timetable(self.ledger)
        timetable.register({name: str(self.periodic_tasks()[name].schedule)})
        return timetable.pause(name)

    def resume_schedule(self, name: str) -> bool:
        """Resume a schedule. Moments missed during the pause are not made up. Return False if it was not paused.

        :param name: the task's full or short name.

        Raises ScheduleNotFound, DatabaseUnavailable.
        """
        return Timetable(self.ledger).resume(full_name(name, self.periodic_tasks()))

    def run_schedule(self, name: str) -> JobHandle:
        """Submit a schedule's job now, in addition to its due moments. Return its handle.

        :param name: the task's full or short name.

        Raises ScheduleNotFound, QueueUnavailable.
        """
        task = self.periodic_tasks()[full_name(name, self.periodic_tasks())]()
        self.enqueue(task)
        return JobHandle(self, task)

    def dataset(
        self,
        schedule: Callable[[datetime], bool],
        *,
        stale_after: float | str | timedelta | None = None,
        keep: int = KEEP,
        as_of: Callable[[Any], Moment] | None = None,
        **options: Any,
    ) -> Callable[[Callable[[], T]], Dataset[T]]:
        """Decorate a function to make a dataset: its first run and each due moment save a version. `.read()` returns the newest.

        Example::

            @huey.dataset(every("15 minutes"), stale_after="1 hour")
            def prices() -> pd.DataFrame: ...

        :param schedule: the due moments, as for `periodic_task`.
        :param stale_after: the age from which the content counts as stale: a text such as "1 hour", seconds, or a timedelta.
        :param keep: the number of versions to keep.
        :param as_of: returns the time that a value describes, for example `lambda prices: prices.index[-1]`: a datetime, a date, a
            Period, a datetime64 or ISO text, in UTC if it names no time zone. By default the time at which it was saved.
        :param options: the periodic task's options: retries, retry_delay, timeout, name.

        Raises ValueError for an impossible stale_after, keep or schedule.
        """

        def decorate(function: Callable[[], T]) -> Dataset[T]:
            made = Dataset(
                function,
                periodic=self.periodic_task(schedule, makes_dataset=True, **options),
                name_of=self.name_of,
                ledger=lambda: self.ledger,
                cache=lambda: self.storage.dataset_cache,
                stale_after=stale_after,
                keep=keep,
                as_of=as_of,
            )
            self.datasets[made.name] = made
            return made

        return decorate

    # --- jobs ---

    def job(self, job_id: str) -> JobHandle:
        """Return a job's handle. Raises JobNotFound."""
        self.get_job(job_id)
        return JobHandle(self, Task(id=job_id))

    def get_job(self, job_id: str) -> Job:
        """Return a job in its present state. Raises JobNotFound."""
        return self.reader.get(job_id)

    def jobs(
        self,
        task: TaskWrapper | str | None = None,
        state: State | None = None,
        owner: str | None = None,
        limit: int = 50,
    ) -> list[Job]:
        """Return the jobs that match every condition given, newest first.

        :param task: a task, or its full name.
        :param state: a state.
        :param owner: the user that the jobs belong to.
        :param limit: the most jobs to return.

        Raises DatabaseUnavailable.
        """
        return self.reader.list(task, state, owner, limit)

    def history(self, job_id: str) -> list[Event]:
        """Return a job's events, oldest first. Raises JobNotFound."""
        return self.reader.history(job_id)

    def log(self, job_id: str) -> list[LogLine]:
        """Return the last lines that a job logged, oldest first. Raises JobNotFound."""
        return self.reader.log(job_id)

    def ahead(self, job_id: str, most: int = 1000) -> int | None:
        """Return the number of queued jobs that will be claimed before this one, at most `most`.

        Return None if the job is not queued. Only the job's own queue counts. A worker that serves several queues takes turns
        between them, and claims jobs of higher priority from the others first. A submit fixes a job's place, but the first job
        of an owner with nothing queued is placed at the front, so the number may grow. Jobs that wait for a concurrency limit,
        or for a worker that knows their task, are counted too.
        """
        return self.ledger.reading.ahead(job_id, most)

    def task_of(self, job_id: str) -> Task:
        """Return the task as it was submitted. Raises JobNotFound, Unreadable."""
        return self.reader.task_of(job_id)

    def workers(self) -> list[Worker]:
        """Return the workers of all live consumers."""
        return live_workers(self.ledger.consumers, self.lease_s)

    def retry_job(self, job_id: str) -> bool:
        """Queue a failed or cancelled job again. Return False if it is in another state or does not exist."""
        retried = self.ledger.retry(job_id)
        self._run_immediately()
        return retried

    def again(self, job_id: str, new_id: str | None = None) -> JobHandle:
        """Submit a job's task and arguments once more, as a new job. Return its handle.

        The new job belongs to the owner of the code that submits it, or else to the old job's owner.

        :param new_id: the new job's id. By default a random one.

        Raises JobNotFound, Unreadable, QueueUnavailable.
        """
        return self.submitter.again(self.reader.task_of(job_id), self.reader.row(job_id), new_id)

    # --- submitting ---

    def enqueue(self, task: Task | group | chord) -> Any:
        """Submit a task and the jobs that follow it, in one transaction.

        Return a handle, a ResultGroup or a ChordResult, as Huey does. Raises QueueUnavailable if the database does not answer,
        ArgumentsTooLarge for more than `max_arguments` bytes.
        """
        result = self.submitter.enqueue(task)
        return result if self.results else None

    def enqueue_many(self, tasks: Iterable[Task | group | chord]) -> list[Any] | None:
        """Submit many tasks and the jobs that follow them, a thousand tasks in each transaction.

        Return the result of `enqueue` for each, in their order. All tasks are checked before the first is accepted.

        Raises ArgumentsTooLarge. Raises QueueUnavailable if the database fails; its `accepted` has the results so far. Calling
        this again with the same tasks accepts the others, and makes no second job.
        """
        results = self.submitter.enqueue_many(tasks)
        return results if self.results else None

    def reschedule(self, task: Task, **changes: Any) -> Any:
        """Replace a task's job by a new job at another time, as JobHandle.reschedule does."""
        row = self.reader.row(task.id)
        return self.submitter.reschedule(self.reader.task_of(task.id) if type(task) is Task else task, row, **changes)

    # --- running ---

    def create_consumer(self, **options: Any) -> Any:
        """Create a consumer, after importing the modules that define tasks.

        :param worker_type: "process" or "thread". By default "process" on Linux, "thread" elsewhere.
        :param queues: the queues that its workers serve, such as "interactive,heavy:1", or a list of such parts. In this
            example at most one worker serves `heavy`, and all of them serve `interactive`. By default every worker serves
            every queue.
        :param options: Huey's other options, such as `workers`.

        Raises ValueError if `queues` has another form or leaves a worker without a queue.
        """
        self.discover()
        options.setdefault("worker_type", WORKER_PROCESS if sys.platform == "linux" else WORKER_THREAD)
        return DurableConsumer(self, **options)
