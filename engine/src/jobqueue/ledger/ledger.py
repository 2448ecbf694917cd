"""The ledger: the state of every job in one database.

Each method is one transaction. After its commit it notifies the queues in which a job may be ready to run. The transitions
themselves, with their SQL, are in the modules that this one imports.
"""

from collections.abc import Sequence

from jobqueue.database.database import Database, Row
from jobqueue.files.stored import StoredFiles
from jobqueue.ledger import ending, releasing, shared_runs
from jobqueue.ledger.attempts import Attempts
from jobqueue.ledger.claiming import claim_next
from jobqueue.ledger.consumers import Consumers
from jobqueue.ledger.dataset_versions import DatasetVersions
from jobqueue.ledger.dependents import after_end, move_follower
from jobqueue.ledger.entries import Entries
from jobqueue.ledger.housekeeping import Housekeeping
from jobqueue.ledger.limits import ConcurrencyLimits
from jobqueue.ledger.reading import Reading
from jobqueue.ledger.records import ClaimRequest, FenceRefused, NewJob, Notify, Outcome
from jobqueue.ledger.retention import Retention
from jobqueue.ledger.states import State
from jobqueue.ledger.submitting import insert

MAX_LOSSES = 3  # attempts that may die with their worker before the job fails as poison
LARGE = 1_000_000  # bytes of a result or log that the database takes long to write


class Ledger:
    """The jobs of one database, and the entries that Huey keeps beside them.

    Every method raises DatabaseUnavailable if the database does not answer.

    :param database: where everything is stored.
    :param max_losses: attempts of a job that may die with their worker before the job fails.
    :param limits: how many jobs may run at once.
    :param notify: called with the queue of each job that may be ready to run, after the commit. It must not raise.

    These parts have their own methods: `attempts` (writes of running attempts), `consumers` (leases), `entries` (Huey's keys and
    counters), `files` (the files of jobs), `housekeeping` (sweeps), `reading` (queries), `retention` (pruning) and `versions` (datasets).
    """

    def __init__(
        self,
        database: Database,
        max_losses: int = MAX_LOSSES,
        limits: ConcurrencyLimits | None = None,
        notify: Notify = lambda queues: None,
    ) -> None:
        self.database = database
        self.max_losses = max_losses
        self.limits = limits or ConcurrencyLimits()
        self.notify = notify
        self.attempts = Attempts(database)
        self.consumers = Consumers(database, notify, max_losses)
        self.entries = Entries(database)
        self.files = StoredFiles(database)
        self.housekeeping = Housekeeping(database, notify, max_losses)
        self.reading = Reading(database)
        self.retention = Retention(database)
        self.versions = DatasetVersions(database)

    # --- submit ---

    def submit(self, jobs: Sequence[NewJob]) -> None:
        """Accept jobs, all or none.

        A job whose id is known was submitted before, and stays as it is. A unique job shares the open run with its key. If it has
        `cache_for`, it also shares a run that succeeded within that time.

        :raises FileMissing: if a file in the arguments is not stored any more. No job is accepted then.
        """
        single_statement = len(jobs) == 1 and jobs[0].handle is None and not jobs[0].files
        with self.database.statement() if single_statement else self.database.transaction() as tx:
            insert(tx, jobs)
        self.notify([job.queue for job in jobs])

    def replace(self, job_id: str, new: NewJob, keep_follower: bool) -> bool:
        """Cancel a job that has not ended, and accept another in its place.

        :param keep_follower: whether the job's dependents wait for the new job. Otherwise they are cancelled.
        :returns: False if the job had ended already. Then the new job is not accepted.
        """
        with self.database.transaction() as tx:
            old = ended = ending.cancel(tx, job_id, f"Rescheduled as {new.id}.")
            if old is None:
                detached, ended = shared_runs.detach(tx, job_id, "Rescheduled.")
                if not detached:
                    return False
            insert(tx, [new])
            ready = [new.queue]
            if old is not None and keep_follower:
                move_follower(tx, old, new.id)
            elif old is not None:
                without = Outcome(state=State.CANCELLED, error="Rescheduled without the jobs that follow it.")
                ready += after_end(tx, old, without)
        self.notify(ready + self._freed_by(ended))
        return True

    # --- claim and end ---

    def claim(self, request: ClaimRequest) -> Row | None:
        """Claim the next job for a worker: a new attempt under the request's token. Return None if no job may run now."""
        return claim_next(self.database, self.limits, request)

    def end(self, job_id: str, token: str, outcome: Outcome, followed: bool = False) -> None:
        """End an attempt: write its outcome and update the job's dependents.

        :param followed: whether the job is known to have dependents. A large result is then sent only once.
        :raises FenceRefused: if the token no longer holds the job. Nothing is written then.
        """
        if not followed and self._fits_one_statement(outcome):
            with self.database.statement() as tx:
                row = ending.end_alone(tx, job_id, token, outcome)
            if row is not None:  # else the job has dependents, or the token is stale
                self.notify(self._freed_by(row))
                return
        with self.database.transaction() as tx:
            row, ready = ending.end_attempt(tx, job_id, token, outcome, self.database.dialect.one_writer)
        self.notify(ready + self._freed_by(row))

    def may_end_and_claim(self, outcome: Outcome, tasks: Sequence[str]) -> bool:
        """Return whether `end_and_claim` may be called with this outcome for a worker of these tasks.

        It cannot count running jobs, so none of the tasks may have a concurrency limit. The job must have no dependents. The next
        job would wait, claimed already, until a large result is written: another worker may run it meanwhile.
        """
        _, result = outcome.result or ("", b"")
        large = len(result) + len(outcome.log or "") > LARGE
        return self._fits_one_statement(outcome) and not large and not self.limits.apply_to(tasks)

    def end_and_claim(
        self, job_id: str, token: str, outcome: Outcome, request: ClaimRequest
    ) -> tuple[bool, Row | None]:
        """End an attempt and claim the worker's next job, in one statement.

        :returns: whether the end was written, and the claimed job, if any. If the end was not written, nothing was claimed. Call
            `end`, which writes it or tells why not.
        """
        with self.database.statement() as tx:
            return ending.end_and_claim(tx, job_id, token, outcome, request)

    def time_out(self, token: str) -> bool:
        """End an attempt that exceeded its timeout and cannot be interrupted. Return False if its claim was over already."""
        with self.database.statement() as tx:
            found = ending.timed_out(tx, token)
        if found is None:
            return False
        job_id, outcome = found
        try:
            self.end(job_id, token, outcome)
        except FenceRefused:
            return False
        return True

    # --- back to the queue ---

    def release(self, consumer: str, worker: str | None = None) -> list[str]:
        """Requeue the jobs that a worker holds, or all jobs of a consumer. This does not count against them. Return their ids."""
        with self.database.statement() as tx:
            rows = releasing.release_all(tx, consumer, worker)
        self.notify([row["queue"] for row in rows])
        return [row["id"] for row in rows]

    def release_one(self, job_id: str, token: str) -> bool:
        """Requeue a job whose attempt was interrupted by a stop. Return False if the token no longer holds it."""
        with self.database.statement() as tx:
            return releasing.release_claim(tx, job_id, token)

    def retry(self, job_id: str) -> bool:
        """Retry a failed or cancelled job at a user's request. The jobs that were cancelled because of it wait again.

        If a job before it in the pipeline did not succeed, the pipeline is retried from there. A handle of a shared run joins the
        run again, or the newer run that has its key.

        :returns: False if the job neither failed nor was cancelled, or if another run has its key now.
        """
        while True:
            try:
                with self.database.transaction() as tx:
                    retried, row = shared_runs.retry_job_or_handle(tx, job_id)
            except self.database.dialect.taken:
                continue  # a submit has just begun a run with the same key
            self.notify([] if row is None else [row["queue"]])
            return retried

    # --- cancel ---

    def cancel(self, job_id: str, reason: str = "cancelled") -> bool:
        """Cancel a job that has not ended. A running attempt is interrupted, since its claim is gone.

        A handle of a shared run is detached from it. The last one that is detached cancels the run.

        :returns: False if the job had ended already.
        """
        with self.database.transaction() as tx:
            row = ending.cancel(tx, job_id, reason)
            if row is None:
                cancelled, row = shared_runs.detach(tx, job_id, reason)
                ready = []
            else:
                cancelled = True
                ready = after_end(tx, row, Outcome(state=State.CANCELLED, error=reason))
        self.notify(ready + self._freed_by(row))
        return cancelled

    def detach(self, handle: str) -> bool:
        """Cancel a handle of a shared run that has not ended. Return False if it is not one."""
        with self.database.transaction() as tx:
            detached, run = shared_runs.detach(tx, handle, "Cancelled.")
        self.notify(self._freed_by(run))
        return detached

    def _freed_by(self, row: Row | None) -> list[str]:
        """Return the queues in which a job may have waited for a concurrency limit that this ended job counted against."""
        if row is None or not self.limits.counts(row["task"], row["owner"]):
            return []
        return self.reading.queues()

    def _fits_one_statement(self, outcome: Outcome) -> bool:
        """Return whether an outcome can be written in one statement. With one writer there is no round trip to save."""
        return not (
            self.database.dialect.one_writer or outcome.retry or outcome.submitted or outcome.version or outcome.files
        )
