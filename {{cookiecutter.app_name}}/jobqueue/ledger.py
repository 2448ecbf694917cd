"""The ledger: the truth about every job, in SQL.

Each change of a job's state is one statement that names the state it expects, and for a running job the token of its
claim: a write under a token that is no longer the job's changes nothing and is refused. What belongs to an end (its
result, what follows, what is tried again) is committed with it. Times are the database's.
"""

import heapq
import itertools
import json
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from jobqueue import statements as sql
from jobqueue.caps import Caps
from jobqueue.database import Database, Row, Transaction, storable
from jobqueue.queues import DEFAULT

MAX_LOSSES = 3  # attempts that died with their worker, after which the job is poison
SWEEP_LIMIT = 200  # jobs that one sweep touches at most
CONSUMER_FORGOTTEN = 24 * 3600  # seconds after which a consumer that was never seen again leaves the list
TRACEBACK = 4_000  # characters that are kept of each attempt's
JOINED_KEPT = 24 * 3600  # seconds that a run stays whose result somebody was given instead of a new run
EXPIRED_KEPT = 24 * 3600  # seconds that a key of Huey's stays after its time is over

ERROR = "application/vnd.jobqueue.error+json"  # the media type of a failed job's result: what Huey keeps of an error


class State(StrEnum):
    """Where a job is. It leaves one state for another only as TRANSITIONS says."""

    WAITING = "waiting"  # follows another job, or all members of a chord
    SCHEDULED = "scheduled"  # waits for its time: a delay, or the pause before a retry
    QUEUED = "queued"  # a worker may claim it
    RUNNING = "running"  # one claim holds it
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        return self in (State.SUCCEEDED, State.FAILED, State.CANCELLED)


# What may happen to a job: (state, event) -> the states it may be in afterwards.
TRANSITIONS: dict[tuple[State, str], tuple[State, ...]] = {
    (State.WAITING, "released"): (State.QUEUED, State.SCHEDULED),  # what it waited for has ended
    (State.WAITING, "abandoned"): (State.CANCELLED,),  # the job before it in the pipeline did not succeed
    (State.WAITING, "cancelled"): (State.CANCELLED,),
    (State.SCHEDULED, "due"): (State.QUEUED,),
    (State.SCHEDULED, "cancelled"): (State.CANCELLED,),
    (State.QUEUED, "claimed"): (State.RUNNING,),
    (State.QUEUED, "cancelled"): (State.CANCELLED,),
    (State.QUEUED, "unknown"): (State.FAILED,),  # no consumer's code has its task, for an hour
    (State.RUNNING, "ended"): (State.SUCCEEDED, State.FAILED, State.CANCELLED),
    (State.RUNNING, "retried"): (State.SCHEDULED, State.QUEUED),  # with a pause, or without one
    (State.RUNNING, "lost"): (State.QUEUED, State.FAILED),  # its worker died; the last time it is poison
    (State.RUNNING, "given back"): (State.QUEUED,),  # its consumer stopped; not counted against it
    (State.RUNNING, "cancelled"): (State.CANCELLED,),
    (State.FAILED, "put back"): (State.QUEUED, State.WAITING),  # by a person; what followed it waits again
    (State.CANCELLED, "put back"): (State.QUEUED, State.WAITING),
}


class FenceRefused(Exception):
    """The token is no longer the job's: another claim, or an end, came first. Nothing was written."""


@dataclass(frozen=True, kw_only=True)
class NewJob:
    """A row to be. Times are seconds since the epoch (`_at`) or from now on the database's clock (`_in`)."""

    id: str
    task: str
    message: bytes
    queue: str = DEFAULT
    priority: float = 0
    owner: str | None = None
    run_at: float | None = None
    run_in: float | None = None
    expires_at: float | None = None
    expires_in: float | None = None
    retries: int = 0
    retry_delay: float = 0
    follower: str | None = None
    chord_index: int | None = None
    pending: int = 0
    follows: str | None = None
    chord_size: int | None = None
    # For a unique job: what is submitted is a handle, and this the run that it has unless there is one.
    handle: str | None = None
    unique_key: str | None = None
    cache_for: float | None = None  # seconds for which a success is as good as a new run


@dataclass(frozen=True, kw_only=True)
class Asking:
    """What a worker asks for, and under which token.

    queues: those that it serves; None for all that there are. lately: those that it was given jobs of, the last one last: at
    equal priority others come first.
    """

    tasks: Sequence[str]
    token: str
    consumer: str
    worker: str
    lease_s: float
    queues: Sequence[str] | None = None
    lately: Sequence[str] = ()

    @property
    def where(self) -> dict[str, Any]:
        queues = None if self.queues is None else list(self.queues)
        return {"tasks": list(self.tasks), "queues": queues, "lately": list(self.lately)}

    @property
    def claimant(self) -> dict[str, Any]:
        return {"consumer": self.consumer, "worker": self.worker, "host": socket.gethostname(), "lease": self.lease_s}


@dataclass(frozen=True, kw_only=True)
class Retry:
    """The attempt failed and another is due: `delay` or `at` says when, `retries` and `retry_delay` what is left."""

    delay: float = 0
    at: float | None = None
    retries: int
    retry_delay: float


@dataclass(frozen=True, kw_only=True)
class NewVersion:
    """What a job makes of a dataset."""

    name: str
    keep: int  # versions, with this one
    as_of: float | None  # seconds since the epoch; None for the database's time when it is saved
    rows: int | None
    size: int  # bytes of the body
    digest: str
    media_type: str
    body: bytes


@dataclass(kw_only=True)
class Outcome:
    """How an attempt ended, and all that is committed with it."""

    state: State = State.SUCCEEDED
    error: str = ""
    result: tuple[str, bytes] | None = None
    retry: Retry | None = None
    progress: tuple[float, float, str] | None = None
    log: str | None = None
    submitted: list[NewJob] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    version: NewVersion | None = None


class Ledger:
    """Jobs in one database, and what Huey keeps beside them. Raises DatabaseUnavailable when it does not answer."""

    def __init__(self, database: Database, max_losses: int = MAX_LOSSES, caps: Caps | None = None) -> None:
        self.database = database
        self.max_losses = max_losses
        self.caps = caps or Caps()
        # Told the queues into which jobs may have come, one for each job.
        self.ring: Callable[[Sequence[str]], object] = lambda queues: None

    # --- a job's way ---

    def submit(self, jobs: Sequence[NewJob]) -> None:
        """Accept jobs, all or none. One whose id is known is that job already, and is left alone.

        One with a key shares the run that has it, if there is one that has not ended (or has, with success, not so long ago).
        """
        alone = len(jobs) == 1 and jobs[0].handle is None
        with self.database.statement() if alone else self.database.transaction() as tx:
            _insert(tx, jobs)
        self.ring([job.queue for job in jobs])

    def claim(self, asking: Asking) -> Row | None:
        """The next job of these tasks, now running under the token; None where there is none that may run now."""
        where, claim = asking.where, asking.claimant | {"token": asking.token}
        if self.caps.any_of(asking.tasks):
            return self._claim_within_caps(where, claim)
        statement = sql.CLAIM
        with self.database.statement() as tx:
            if self.database.dialect.one_writer:
                if tx.one(sql.NEXT_FOR_ONE_WRITER, **where) is None:
                    return None
                statement = sql.CLAIM_FOR_ONE_WRITER
            return tx.one(statement, **where, **claim)

    def _claim_within_caps(self, where: dict[str, Any], claim: dict[str, Any]) -> Row | None:
        """Two claims at the same moment may both see the last place free: each asks again when the other is done."""
        one_writer = self.database.dialect.one_writer
        following, statement = {
            (False, False): (sql.NEXT, sql.CLAIM),
            (False, True): (sql.NEXT_WITHIN_CAPS, sql.CLAIM_WITHIN_CAPS),
            (True, False): (sql.NEXT_FOR_ONE_WRITER, sql.CLAIM_FOR_ONE_WRITER),
            (True, True): (sql.NEXT_WITHIN_CAPS_FOR_ONE_WRITER, sql.CLAIM_WITHIN_CAPS_FOR_ONE_WRITER),
        }[one_writer, self.caps.per_owner is not None]

        def free(tx: Transaction) -> dict[str, Any]:
            tasks, owners = self.caps.full(tx.all(sql.RUNNING))
            where_free = where | {"tasks": [task for task in where["tasks"] if task not in tasks]}
            return where_free if self.caps.per_owner is None else where_free | {"full": sorted(owners)}

        if one_writer:  # nobody else writes meanwhile, but looks come before writes
            with self.database.statement() as tx:
                if tx.one(following, **free(tx)) is None:
                    return None
            with self.database.transaction() as tx:
                return tx.one(statement, **free(tx), **claim)
        while True:
            try:
                with self.database.transaction() as tx:
                    row = tx.one(statement, **free(tx), **claim)
                    if row is not None:
                        self._have_place(tx, row)
                    return row
            except _Taken:
                pass

    def _have_place(self, tx: Transaction, row: Row) -> None:
        """Raises _Taken where a claim that was committed meanwhile has the last place."""
        task, owner = row["task"], row["owner"]
        places = [f"task {task}"] if task in self.caps.of_task else []
        places += [f"owner {owner}"] if self.caps.per_owner is not None and owner is not None else []
        for place in places:  # tasks before owners: nobody waits for one who waits for him
            tx.one(sql.ALONE, name=place)
        if places:
            tasks, owners = self.caps.full(tx.all(sql.RUNNING), spare=1)  # with this one
            if task in tasks or owner in owners:
                raise _Taken

    def any_queued_but(self, tasks: Sequence[str]) -> bool:
        """Whether a job of another task than these is queued."""
        with self.database.statement() as tx:
            return not {row["task"] for row in tx.all(sql.QUEUED_TASKS)} <= set(tasks)

    def queues(self) -> list[str]:
        """Those in which jobs are queued."""
        with self.database.statement() as tx:
            return [row["value"] for row in tx.all(sql.QUEUES, queues=None)]

    def end(self, job_id: str, token: str, outcome: Outcome) -> None:
        """Write how an attempt ended, and what comes with it. Raises FenceRefused."""
        how = _how(job_id, token, outcome)
        if self._may_end_alone(outcome):
            with self.database.statement() as tx:
                alone = tx.one(sql.END_ALONE, **how, **_what_is_saved(outcome))
            if alone is not None:  # else another job follows it, or it is refused
                self.ring(self._freed(alone))
                return
        with self.database.transaction() as tx:
            if outcome.retry is None:
                row = tx.one(sql.END, **how)
            else:
                row = tx.one(sql.RETRY, **how, **vars(outcome.retry))
            if row is None:
                raise FenceRefused(f"Job {job_id} is no longer held under token {token}.")
            for key in outcome.deleted:
                tx.run(sql.DELETE_ENTRY, key=key)
            _insert(tx, outcome.submitted)
            if outcome.result is not None:
                _save_result(tx, job_id, outcome.result)
            if outcome.log is not None:
                tx.run(sql.SAVE_LOG_AT_END, id=job_id, lines=outcome.log)
            if outcome.version is not None:
                _save_version(tx, job_id, outcome.version)
            rung = [job.queue for job in outcome.submitted]
            if outcome.retry is None:
                rung += _after_end(tx, row, outcome)
        self.ring(rung + self._freed(row))

    def may_end_and_claim(self, outcome: Outcome, tasks: Sequence[str]) -> bool:
        """Whether `end_and_claim` can write it, of a job that none follows, and claim for a worker of these tasks."""
        return self._may_end_alone(outcome) and not self.caps.any_of(tasks)

    def end_and_claim(self, job_id: str, token: str, outcome: Outcome, asking: Asking) -> tuple[bool, Row | None]:
        """Write how an attempt ended and claim another job, in one statement.

        Returns whether the end was written (if not, nothing is claimed, and `end` says why), and the job that was claimed.
        """
        how = _how(job_id, token, outcome) | _what_is_saved(outcome) | asking.where | asking.claimant
        with self.database.statement() as tx:
            row = tx.one(sql.END_AND_CLAIM, **how, next_token=asking.token)
        return row is not None, None if row is None or row["id"] is None else row

    def lose(self, job_id: str, token: str, worker: str) -> bool:
        """Its worker died: back to the queue, or failed as poison. False if the claim was over already."""
        with self.database.transaction() as tx:
            row = self._lose(tx, job_id, token, worker)
        self.ring([] if row is None else [row["queue"]])
        return row is not None

    def lose_worker(self, consumer: str, worker: str) -> list[str]:
        """A worker died: what it held is lost. Returns the ids."""
        with self.database.transaction() as tx:
            held = tx.all(sql.HELD_BY_WORKER, consumer=consumer, worker=worker)
            rows = [self._lose(tx, row["id"], row["token"], f"worker {worker}") for row in held]
        return self._rung_for(rows)

    def time_out(self, token: str) -> bool:
        """The attempt's time is over, and it does not hear of it: it has failed. False if it was over already."""
        with self.database.statement() as tx:
            row = tx.one(sql.RETRIES_LEFT, token=token)
        if row is None:
            return False
        error = "Timed out: it took longer than it may, in a call that could not be interrupted."
        outcome = Outcome(
            state=State.FAILED, error=error, result=error_result(error, row["id"], retries=row["retries"])
        )
        if row["retries"]:
            outcome.retry = Retry(delay=row["retry_delay"], retries=row["retries"] - 1, retry_delay=row["retry_delay"])
        try:
            self.end(row["id"], token, outcome)
        except FenceRefused:
            return False
        return True

    def give_back(self, consumer: str, worker: str | None = None) -> list[str]:
        """What a worker holds, or all of a consumer's, goes back to the queue, not counted against the jobs."""
        with self.database.statement() as tx:
            if worker is None:
                rows = tx.all(sql.GIVE_BACK_ALL, consumer=consumer)
            else:
                rows = tx.all(sql.GIVE_BACK_WORKERS, consumer=consumer, worker=worker)
        return self._rung_for(rows)

    def give_back_unheard(
        self, consumer: str, workers: Sequence[str], known: Sequence[str], left_s: float
    ) -> list[str]:
        """What these living workers were given, under other tokens than those that they know, goes back to the queue.

        Not while the lease has more than `left_s` seconds left: whoever asks may not know of the newest tokens.
        """
        with self.database.statement() as tx:
            rows = tx.all(
                sql.GIVE_BACK_UNHEARD, consumer=consumer, workers=list(workers), known=list(known), left=left_s
            )
        return self._rung_for(rows)

    def give_back_one(self, job_id: str, token: str) -> bool:
        """One attempt was interrupted by a stop."""
        with self.database.statement() as tx:
            return tx.one(sql.GIVE_BACK, id=job_id, token=token) is not None

    def cancel(self, job_id: str, reason: str = "cancelled") -> bool:
        """End a job that has not ended. A running attempt finds its claim gone. False if it had ended.

        A handle of a shared run is let go; with the last of them the run is cancelled.
        """
        with self.database.transaction() as tx:
            row = tx.one(sql.CANCEL, id=job_id, reason=reason)
            let_go, ended = (True, row) if row is not None else _let_go(tx, job_id, reason)
            rung = [] if row is None else _after_end(tx, row, Outcome(state=State.CANCELLED, error=reason))
        self.ring(rung if ended is None else rung + self._freed(ended))
        return let_go

    def let_go(self, handle: str) -> bool:
        """Cancel what this handle stands for, if it is one of a shared run that has not ended. False if not."""
        with self.database.transaction() as tx:
            let_go, ended = _let_go(tx, handle, "Cancelled.")
        self.ring([] if ended is None else self._freed(ended))
        return let_go

    def put_back(self, job_id: str) -> bool:
        """Try a failed or cancelled job again, as a person asks; what was cancelled because of it waits again.

        A job that waited for another which did not succeed is tried again from that one on. False if it is neither, or if
        another run has its key now. A handle of a shared run takes part in it again, or in that other one.
        """
        while True:
            try:
                with self.database.transaction() as tx:
                    run = tx.one(sql.RUN_OF_HANDLE, id=job_id)
                    if run is None:
                        row = _put_back(tx, job_id)
                        put_back = row is not None
                    else:
                        put_back, row = _take_up(tx, job_id, run)
            except self.database.dialect.taken:
                continue  # its key, by a submit just now
            self.ring([] if row is None else [row["queue"]])
            return put_back

    def replace(self, job_id: str, new: NewJob, keep_follower: bool) -> bool:
        """End a job that has not ended, and accept another in its place among those that follow it. False if it had."""
        with self.database.transaction() as tx:
            old = tx.one(sql.CANCEL, id=job_id, reason=f"Rescheduled as {new.id}.")
            let_go, ended = (True, old) if old is not None else _let_go(tx, job_id, "Rescheduled.")
            if not let_go:
                return False
            rung = [new.queue]
            _insert(tx, [new])
            if old is None:
                pass  # nothing follows a run that is shared
            elif keep_follower:
                tx.run(sql.TAKE_PLACE, id=new.id, follower=old["follower"], chord_index=old["chord_index"])
                tx.run(sql.TAKE_PLACE, id=job_id, follower=None, chord_index=None)
                tx.run(sql.FOLLOW, id=old["follower"], before=job_id, after=new.id)
            else:
                rung += _after_end(tx, old, Outcome(state=State.CANCELLED, error="Rescheduled without what follows."))
        self.ring(rung if ended is None else rung + self._freed(ended))
        return True

    def still_held(self, job_id: str, token: str) -> bool:
        """Whether the claim holds."""
        with self.database.statement() as tx:
            return tx.one(sql.STILL_HELD, id=job_id, token=token) is not None

    def progress(self, job_id: str, token: str, done: float, total: float, note: str) -> None:
        """Raises FenceRefused."""
        with self.database.statement() as tx:
            if not tx.run(sql.PROGRESS, id=job_id, token=token, done=done, total=total, note=note):
                raise FenceRefused(f"Job {job_id} is no longer held under token {token}.")

    def save_log(self, job_id: str, token: str, lines: str) -> None:
        """Raises FenceRefused."""
        with self.database.statement() as tx:
            if not tx.run(sql.SAVE_LOG, id=job_id, token=token, lines=lines):
                raise FenceRefused(f"Job {job_id} is no longer held under token {token}.")

    def step_names(self, job_id: str) -> set[str]:
        with self.database.statement() as tx:
            return {row["name"] for row in tx.all(sql.STEP_NAMES, id=job_id)}

    def step(self, job_id: str, name: str) -> tuple[str, bytes]:
        with self.database.statement() as tx:
            row = tx.one(sql.STEP, id=job_id, name=name)
        assert row is not None, f"step {name!r} of job {job_id} was there a moment ago"
        return row["media_type"], row["body"]

    def save_step(self, job_id: str, token: str, name: str, value: tuple[str, bytes]) -> None:
        """Raises FenceRefused."""
        with self.database.transaction() as tx:
            if tx.one(sql.HOLD, id=job_id, token=token) is None:
                raise FenceRefused(f"Job {job_id} is no longer held under token {token}.")
            tx.run(sql.SAVE_STEP, id=job_id, name=name, media_type=value[0], body=value[1])

    # --- what a consumer does for its workers, and for others' ---

    def greet(
        self,
        consumer: str,
        host: str,
        pid: int,
        workers: int,
        tasks: Sequence[str],
        queues: Sequence[str] | None = None,
        version: str | None = None,
    ) -> None:
        """queues: those that its workers serve; None for every queue. version: of its code."""
        me = {"id": consumer, "host": host, "pid": pid, "workers": workers, "version": version}
        lists = {
            "tasks": json.dumps(sorted(tasks)),
            "queues": None if queues is None else json.dumps(sorted(queues)),
        }
        with self.database.transaction() as tx:
            tx.run(sql.GREET, **me, **lists)
            tx.run(sql.FORGET, age=CONSUMER_FORGOTTEN)

    def leave(self, consumer: str) -> None:
        """It is no longer among `consumers`; what it knew counts as known until now."""
        with self.database.statement() as tx:
            tx.run(sql.LEAVE, id=consumer)

    def renew(
        self, consumer: str, tokens: Sequence[str], lease_s: float, processes: str = "[]", draining: bool = False
    ) -> float:
        """Renew the leases of a consumer's claims, and what it says of its workers. Returns the database's time."""
        with self.database.transaction() as tx:
            tx.run(sql.RENEW, tokens=list(tokens), lease=lease_s)
            tx.run(sql.SEEN, id=consumer, processes=processes, draining=draining)
            clock = tx.one(sql.CLOCK)
            assert clock is not None
            return float(clock["now"])

    def held(self, consumer: str) -> set[str]:
        """The tokens under which a consumer's workers hold jobs."""
        with self.database.statement() as tx:
            return {row["token"] for row in tx.all(sql.HELD_BY_CONSUMER, consumer=consumer)}

    def promote(self) -> int:
        """Queue the jobs whose time has come."""
        with self.database.statement() as tx:
            if tx.one(sql.ANY_DUE) is None:
                return 0
            due = tx.all(sql.PROMOTE, limit=SWEEP_LIMIT)
        return len(self._rung_for(due))

    def rescue(self, held: Sequence[str]) -> list[str]:
        """Take back the jobs whose lease ran out: whoever held them is dead, or cut off. Returns their ids.

        Not those under these tokens, which whoever asks knows to be held: there it was a renewal that took longer than a
        lease.
        """
        with self.database.statement() as tx:
            if not tx.all(sql.LAPSED, held=list(held), limit=1):
                return []
        with self.database.transaction() as tx:
            lapsed = tx.all(sql.LAPSED, held=list(held), limit=SWEEP_LIMIT)
            rows = [self._lose(tx, row["id"], row["token"], f"worker {row['worker']}") for row in lapsed]
        return self._rung_for(rows)

    def fail_unknown(self, age_s: float) -> list[str]:
        """Fail jobs that have waited so long for code that has their task; no consumer that was seen since has it.

        At most SWEEP_LIMIT. Returns their ids.
        """
        with self.database.transaction() as tx:
            known = {task for row in tx.all(sql.KNOWN_TASKS, age=age_s) for task in json.loads(row["tasks"])}
            unknown = [row["task"] for row in tx.all(sql.QUEUED_TASKS) if row["task"] not in known]
            error = (
                f"No worker knew its task for {age_s:g} s: the code of a running consumer has to have it, "
                "under the name that it was submitted with. Deploy that code, then try the job again."
            )
            failed: list[str] = []
            rung: list[str] = []
            for task in unknown:
                for found in tx.all(sql.UNKNOWN, task=task, age=age_s, limit=SWEEP_LIMIT - len(failed)):
                    row = tx.one(sql.FAIL_UNKNOWN, id=found["id"], error=error)
                    assert row is not None, "it is locked"
                    rung += _after_failure(tx, row, error)
                    failed.append(row["id"])
        self.ring(rung)
        return failed

    # --- pruning ---

    def step_back(self, before: int, count: int) -> tuple[int, int | None]:
        """Of so many jobs before this one, by `seq`: how many there are, and which is the oldest."""
        with self.database.statement() as tx:
            row = tx.one(sql.STEP_BACK, before=before, limit=count)
            assert row is not None
            return row["n"], row["oldest"]

    def prune(self, after: int, count: int, keep_s: float, oldest: int) -> tuple[int | None, int]:
        """Delete, of so many jobs after this one, by `seq`, those that ended long ago or are older than `oldest`.

        Not those that a job follows which is to be kept. Returns the last of them, None where all that come are too young
        to look at; and how many it deleted.
        """
        kept = {"keep": keep_s, "oldest": oldest}
        with self.database.statement() as tx:
            stretch = tx.one(sql.STRETCH, after=after, limit=count, **kept)
        if stretch is None or not stretch["old"]:
            return None, 0
        with self.database.transaction() as tx:
            old = [row["id"] for row in tx.all(sql.OLD, after=after, last=stretch["last"], **kept)]
            ids = [row["id"] for row in tx.all(sql.PRUNE, ids=old, joined=JOINED_KEPT)] if old else []
            if ids:
                tx.run(sql.PRUNE_RESULTS, ids=ids)
                tx.run(sql.PRUNE_STEPS, ids=ids)
                tx.run(sql.PRUNE_LOGS, ids=ids)
                tx.run(sql.PRUNE_HANDLES, ids=ids)
                tx.run(sql.PRUNE_UPDATES, ids=ids)
                tx.run(sql.PRUNE_ANSWERS, ids=ids)
                tx.run(sql.PRUNE_REVOCATIONS, keys=[f"r:{job_id}" for job_id in ids])
        return stretch["last"], len(ids)

    def prune_entries(self, count: int) -> int:
        """Delete keys whose time has long been over, at most so many. Returns how many it deleted."""
        with self.database.statement() as tx:
            return len(tx.all(sql.PRUNE_ENTRIES, age=EXPIRED_KEPT, limit=count))

    # --- reading ---

    def look(self, job_id: str) -> Row | None:
        with self.database.statement() as tx:
            row = tx.one(sql.LOOK, id=job_id, error=ERROR)
        return row if row is None or row["handle"] is None else _as_asked(row)

    def ahead(self, job_id: str, most: int) -> int | None:
        """How many queued jobs of its queue come before it, counted to `most`; None if it is not queued."""
        with self.database.statement() as tx:
            row = tx.one(sql.AHEAD, id=job_id, most=most)
        return None if row is None else min(int(row["n"]), most)

    def history(self, job_id: str) -> Row | None:
        """`created_at`, and `events` in lines."""
        with self.database.statement() as tx:
            return tx.one(sql.HISTORY, id=job_id)

    def log(self, job_id: str) -> Row | None:
        """`lines`, which is None where nothing was logged."""
        with self.database.statement() as tx:
            return tx.one(sql.LOG, id=job_id)

    def result(self, job_id: str) -> Row | None:
        """State, and media type and body where there is a result; None for an unknown id."""
        with self.database.statement() as tx:
            return tx.one(sql.RESULT, id=job_id)

    def ended(self, job_id: str) -> bool:
        with self.database.statement() as tx:
            return tx.one(sql.ENDED, id=job_id) is not None

    def members(self, callback_id: str) -> list[Row]:
        """A chord's members in their order: state, error, and result where there is one."""
        with self.database.statement() as tx:
            return tx.all(sql.MEMBERS, id=callback_id)

    def jobs(self, *, task: str | None, state: str | None, owner: str | None, limit: int) -> list[Row]:
        """Newest first. An owner has handles, and of a shared run these; else a run is one job."""
        wanted = {"task": task, "state": state, "owner": owner}
        asked = [name for name, value in wanted.items() if value is not None]
        conditions = " AND ".join(f"{name} = :{name}" for name in asked)
        # An owner's by state: or else a handle for each run, so that these can be left out later.
        if owner is not None and state is not None:
            conditions += " AND unique_key IS NULL"
        order = "seq DESC"
        # By a range, as only one index has this order: else Postgres may walk through all jobs back to these.
        if len(asked) == 1:
            (name,) = asked
            conditions, order = f"{name} >= :{name} AND {name} <= :{name}", f"{name} DESC, seq DESC"
        with self.database.statement() as tx:
            jobs = tx.all(sql.LIST.format(conditions=conditions or "TRUE", order=order), **wanted, limit=limit)
        if owner is None:
            return jobs
        columns = {"task": "jobs.task", "state": sql.STATE_OF_HANDLE, "owner": "handles.owner"}
        conditions = " AND ".join(f"{columns[name]} = :{name}" for name in asked)
        with self.database.statement() as tx:
            shared = tx.all(sql.LIST_HANDLES.format(conditions=conditions), **wanted, limit=limit)
        alone = (row for row in jobs if row["unique_key"] is None)
        both = heapq.merge(alone, map(_as_asked, shared), key=lambda row: float(row["created_at"]), reverse=True)
        return list(itertools.islice(both, limit))

    def consumers(self) -> list[Row]:
        with self.database.statement() as tx:
            return tx.all(sql.CONSUMERS)

    def held_by(self, consumers: Sequence[str]) -> list[Row]:
        """The jobs that these run: id, task, consumer, worker."""
        with self.database.statement() as tx:
            return tx.all(sql.HELD_BY_CONSUMERS, consumers=list(consumers))

    def connections(self) -> tuple[int, int] | None:
        """How many the database's server has, and may have; None where that does not matter."""
        if not self.database.dialect.connections:
            return None
        with self.database.statement() as tx:
            row = tx.one(self.database.dialect.connections)
            return None if row is None else (row["used"], row["most"])

    def count(self, state: State) -> int:
        with self.database.statement() as tx:
            row = tx.one(sql.COUNT_STATE, state=state)
            return int(row["n"]) if row else 0

    def messages(self, state: State, limit: int | None) -> list[bytes]:
        with self.database.statement() as tx:
            return [
                row["message"]
                for row in tx.all(sql.MESSAGES, state=state, limit=sys.maxsize if limit is None else limit)
            ]

    def ids(self, state: State) -> list[str]:
        with self.database.statement() as tx:
            return [row["id"] for row in tx.all(sql.IDS, state=state)]

    # --- datasets ---

    def newest_version(self, name: str) -> Row | None:
        """What is known of it, but for its body."""
        with self.database.statement() as tx:
            return tx.one(sql.NEWEST_VERSION, name=name)

    def version(self, name: str, version: int) -> Row | None:
        """Its digest, media type and body."""
        with self.database.statement() as tx:
            return tx.one(sql.VERSION, name=name, version=version)

    def kept_versions(self, name: str) -> list[int]:
        with self.database.statement() as tx:
            return [row["version"] for row in tx.all(sql.KEPT_VERSIONS, name=name)]

    def last_refresh(self, task: str) -> Row | None:
        """Of the jobs of this task, the last whose outcome is known, if only of an attempt: id, state and error."""
        with self.database.statement() as tx:
            return tx.one(sql.LAST_REFRESH, task=task)

    # --- Huey's key/value side ---

    def put(self, key: str, value: bytes) -> None:
        with self.database.statement() as tx:
            tx.run(sql.PUT, key=key, value=value)

    def put_if_free(self, key: str, value: bytes, holder: str | None, ttl: float | None, again: bool = False) -> bool:
        """Take a key that nobody has: free too are one past its time, and one held by a claim that is over.

        `again`: an earlier try was not answered, so that the holder itself may have it since.
        """
        with self.database.transaction() as tx:
            taken = {"key": key, "value": value, "holder": holder, "ttl": ttl}
            if tx.run(sql.TAKE_NEW_KEY, **taken):
                return True
            tx.one(sql.HOLD_KEY, key=key)  # whether its holder lives is looked at when nobody else can take it
            return bool(tx.run(sql.TAKE_FREE_KEY, again=again, **taken))

    def peek(self, keys: Sequence[str]) -> dict[str, bytes]:
        with self.database.statement() as tx:
            return {row["key"]: row["value"] for row in tx.all(sql.PEEK, keys=list(keys))}

    def pop(self, key: str) -> bytes | None:
        with self.database.statement() as tx:
            row = tx.one(sql.POP, key=key)
            return None if row is None else row["value"]

    def delete(self, key: str) -> bool:
        with self.database.statement() as tx:
            return bool(tx.run(sql.DELETE_ENTRY, key=key))

    def release(self, key: str, token: str) -> bool:
        """Delete an entry, unless it is a lock that another living claim holds."""
        with self.database.transaction() as tx:
            tx.one(sql.HOLD_KEY, key=key)
            return bool(tx.run(sql.RELEASE_LOCK, key=key, holder=token))

    def delete_stale_lock(self, key: str) -> bool:
        with self.database.transaction() as tx:
            tx.one(sql.HOLD_KEY, key=key)
            return bool(tx.run(sql.DELETE_STALE_LOCK, key=key))

    def add(self, key: str, amount: int) -> int:
        with self.database.statement() as tx:
            row = tx.one(sql.ADD, key=key, amount=amount)
            assert row is not None
            return int(row["value"])

    def delete_counter(self, key: str) -> None:
        with self.database.statement() as tx:
            tx.run(sql.DELETE_COUNTER, key=key)

    def entries(self) -> dict[str, bytes]:
        with self.database.statement() as tx:
            return {row["key"]: row["value"] for row in tx.all(sql.ENTRIES)}

    def result_ids(self) -> list[str]:
        with self.database.statement() as tx:
            return [row["job_id"] for row in tx.all(sql.RESULT_IDS)]

    def flush_results(self) -> None:
        with self.database.transaction() as tx:
            tx.run(sql.FLUSH_RESULTS)
            tx.run(sql.FLUSH_ENTRIES)

    def flush_counters(self) -> None:
        with self.database.statement() as tx:
            tx.run(sql.FLUSH_COUNTERS)

    # --- helpers ---

    def _rung_for(self, rows: Sequence[Row | None]) -> list[str]:
        """Ring for jobs that came (back) into their queues. Returns their ids."""
        came = [row for row in rows if row is not None]
        self.ring([row["queue"] for row in came])
        return [row["id"] for row in came]

    def _freed(self, row: Row) -> list[str]:
        """The queues in which a job may have waited for the place of this one."""
        return self.queues() if self.caps.hold(row["task"], row["owner"]) else []

    def _may_end_alone(self, outcome: Outcome) -> bool:
        """Whether it is written in one statement where nothing follows the job. (One writer is no trip away.)"""
        return not (self.database.dialect.one_writer or outcome.retry or outcome.submitted or outcome.version)

    def _lose(self, tx: Transaction, job_id: str, token: str, worker: str) -> Row | None:
        """The job, in the state that it is in now; None if the claim was over already."""
        poison = (
            f"Its worker died {self.max_losses} times while running this job (last: {worker}), so it is not tried "
            "again. It may need more memory than there is, or crash the interpreter."
        )
        row = tx.one(sql.LOSE, id=job_id, token=token, max_losses=self.max_losses, poison=poison)
        if row is not None and row["state"] == State.FAILED:
            _after_failure(tx, row, poison)
        return row


class _Taken(Exception):
    """The last place went to another claim."""


def error_result(error: str, job_id: str, traceback: str = "", retries: int = 0) -> tuple[str, bytes]:
    """What is kept of an error as a job's result: the metadata of Huey's TaskException."""
    return ERROR, json.dumps({"error": error, "retries": retries, "traceback": traceback, "task_id": job_id}).encode()


def _how(job_id: str, token: str, outcome: Outcome) -> dict[str, Any]:
    """What an attempt's end writes to its job."""
    done, total, note = outcome.progress or (None, None, None)
    return {
        "id": job_id,
        "token": token,
        "state": outcome.state,
        "error": outcome.error,
        "done": done,
        "total": total,
        "note": note,
        "traceback": _traceback(outcome.result),
    }


def _what_is_saved(outcome: Outcome) -> dict[str, Any]:
    """What the end of a job that nothing follows writes besides."""
    media_type, body = outcome.result or (None, None)
    return {"deleted": outcome.deleted, "media_type": media_type, "body": body, "log": outcome.log}


def _traceback(result: tuple[str, bytes] | None) -> str:
    """What is behind an attempt's error; of a long one its end, which tells the most."""
    if result is None or result[0] != ERROR:
        return ""
    return storable(json.loads(result[1])["traceback"])[-TRACEBACK:]


def _insert(tx: Transaction, jobs: Sequence[NewJob]) -> None:
    turns: dict[tuple[str, float, str | None], int] = {}  # the last, of jobs that take turns with others
    following: list[dict[str, Any]] = []  # those whose turn follows from that of one before them, to go together
    for job in jobs:
        line = job.queue, job.priority, job.owner
        if job.handle is not None:
            continue
        if line in turns:
            turns[line] += 1
            following.append(vars(job) | {"turn": turns[line]})
            continue
        tx.run_each(sql.INSERT_EACH, following)
        following = []
        if (row := tx.one(sql.INSERT, turn=None, **vars(job))) is not None:
            turns[line] = row["turn"]
    tx.run_each(sql.INSERT_EACH, following)
    # In the order of their keys: who submits the same in another order waits, and does not hold what this one waits for.
    for job in sorted((job for job in jobs if job.handle is not None), key=lambda job: job.unique_key or ""):
        _insert_shared(tx, job)


def _insert_shared(tx: Transaction, job: NewJob) -> None:
    """A handle, of the run that has its key, or of a new one."""
    if not tx.run(sql.NEW_HANDLE, handle=job.handle, id=job.id, owner=job.owner):
        return
    while True:
        if tx.one(sql.INSERT, turn=None, **vars(job)) is None:
            run = tx.one(sql.OPEN_RUN, unique_key=job.unique_key)
            if run is None:
                continue  # it has ended since
        elif job.cache_for is None:
            return
        else:  # looked for when nobody else can begin or end one with this key
            run = tx.one(sql.RECENT_RUN, unique_key=job.unique_key, cache_for=job.cache_for)
            if run is None:
                return
            tx.run(sql.WITHDRAW, id=job.id)
        tx.run(sql.POINT, id=job.handle, run=run["id"])
        return


def _let_go(tx: Transaction, handle: str, reason: str) -> tuple[bool, Row | None]:
    """Whether the handle was one of a run that had not ended, and that run if it has ended now, as nobody wants it."""
    run = tx.one(sql.RUN_OF_HANDLE, id=handle)
    if run is None or State(run["state"]).ended or not tx.run(sql.LET_GO, id=handle):
        return False, None
    if tx.one(sql.STILL_WANTED, run=run["id"]) is not None:
        return True, None
    return True, tx.one(sql.CANCEL, id=run["id"], reason=reason)


def _take_up(tx: Transaction, handle: str, run: Row) -> tuple[bool, Row | None]:
    """Whether the handle takes part in a run again, and that run if it is in the queue again for it."""
    if run["state"] not in (State.FAILED, State.CANCELLED):
        return bool(tx.run(sql.TAKE_UP, id=handle)), None
    while (again := _put_back(tx, run["id"])) is None:
        other = tx.one(sql.OPEN_RUN, unique_key=run["unique_key"])
        if other is not None:
            tx.run(sql.POINT, id=handle, run=other["id"])
            break
    tx.run(sql.TAKE_UP, id=handle)
    return True, again


def _as_asked(row: Row) -> Row:
    """A shared run, as it is for a handle of it."""
    seen = dict(row) | {"id": row["handle"], "owner": row["handle_owner"], "created_at": row["asked_at"]}
    if row["let_go_at"] is None:
        return seen
    return seen | {"state": State.CANCELLED, "error": "Cancelled.", "ended_at": row["let_go_at"], "failure": None}


def _put_back(tx: Transaction, job_id: str) -> Row | None:
    """The job that is in the queue again: this one, or the one before it that did not succeed."""
    while (before := tx.one(sql.UNSUCCESSFUL_BEFORE, id=job_id)) is not None:
        job_id = before["id"]
    row = first = tx.one(sql.PUT_BACK, id=job_id)
    while row is not None:
        tx.run(sql.DELETE_RESULT, id=row["id"])
        if row["counted"] and tx.run(sql.AWAIT_ONE_MORE, id=row["follower"]):
            tx.run(sql.UNCOUNT, id=row["id"])  # its chord has not fired yet, and waits for it again
        row = tx.one(sql.WAIT_AGAIN, id=row["follower"])
    return first


def _save_result(tx: Transaction, job_id: str, result: tuple[str, bytes]) -> None:
    tx.run(sql.SAVE_RESULT, id=job_id, media_type=result[0], body=result[1])


def _save_version(tx: Transaction, job_id: str, new: NewVersion) -> None:
    row = tx.one(sql.NEXT_VERSION, name=new.name)
    assert row is not None
    values = {name: value for name, value in vars(new).items() if name != "keep"}
    tx.run(sql.SAVE_VERSION, version=row["version"], job_id=job_id, **values)
    tx.run(sql.DELETE_VERSIONS, name=new.name, until=row["version"] - new.keep)


def _after_failure(tx: Transaction, row: Row, error: str) -> list[str]:
    """The job failed without having run to its end. Returns as _after_end does."""
    _save_result(tx, row["id"], error_result(error, row["id"]))
    return _after_end(tx, row, Outcome(state=State.FAILED, error=error))


def _after_end(tx: Transaction, row: Row, outcome: Outcome) -> list[str]:
    """Tell what waits for a job that has ended; whoever ended it (a worker, a cancel, the sweep) comes through here.

    Returns the queues of what may run now.
    """
    state = outcome.state
    while row["follower"] is not None:
        # A chord takes a failed member's error for its result, as Huey has it.
        if row["chord_index"] is not None or state is State.SUCCEEDED:
            if tx.run(sql.COUNT_ONCE, id=row["id"]):
                return [released["queue"] for released in tx.all(sql.RELEASE, id=row["follower"])]
            return []
        error = f"Not run: the job before it, {row['id']}, was {state}. {outcome.error}".strip()
        abandoned = tx.one(sql.ABANDON, id=row["follower"], error=error)
        if abandoned is None:
            return []
        if outcome.result is not None:
            _save_result(tx, abandoned["id"], outcome.result)
        row, state = abandoned, State.CANCELLED
    return []
