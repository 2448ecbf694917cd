"""Schedules in the ledger: a watermark for each, and the one transaction that fires a due moment.

The watermark is the last moment that was handled. The transaction that inserts a job also moves the watermark, from the value
that the consumer read before. If two consumers fire the same moment, the second finds the watermark moved and inserts
nothing. Pruning jobs does not change watermarks.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from itertools import islice

from jobqueue.database.database import Row
from jobqueue.database.times import utc
from jobqueue.ledger.dependents import SET_FOLLOWER
from jobqueue.ledger.ledger import Ledger
from jobqueue.ledger.records import NewJob
from jobqueue.ledger.sql import CLOCK, ENDED_STATES, event
from jobqueue.ledger.submitting import INSERT
from jobqueue.schedules.schedule import Overlap, Schedule

REGISTER_SCHEDULE = """
INSERT INTO schedules (name, phrase, watermark, note) VALUES (:name, :phrase, NOW, '') ON CONFLICT (name) DO NOTHING
"""

UPDATE_PHRASE = "UPDATE schedules SET phrase = :phrase, watermark = NOW WHERE name = :name AND phrase <> :phrase"
SCHEDULE_NAMES = "SELECT name FROM schedules"
DROP_SCHEDULES = "DELETE FROM schedules WHERE name IN EACH(:names)"

LIVE_CONSUMERS = """
SELECT tasks FROM consumers
WHERE id <> :consumer AND left_at IS NULL AND (seen_at > NOW - :age OR seen_at > :now - :age)
"""

WATERMARKS = "SELECT name, watermark, paused_at FROM schedules WHERE name IN EACH(:names)"

ADVANCE_WATERMARK = """
UPDATE schedules SET watermark = :due WHERE name = :name AND watermark = :watermark AND paused_at IS NULL
RETURNING last_job
"""

ACTIVE_RUN = f"""
SELECT id, state, attempt FROM jobs WHERE id = :id AND state NOT IN {ENDED_STATES} AND follower IS NULL FOR UPDATE
"""

MARK_FIRED = "UPDATE jobs SET due_at = :due_at, made_up = :made_up WHERE id = :id"

NOTE_LAST_FIRE = """
UPDATE schedules SET last_due = COALESCE(:due, last_due), last_job = COALESCE(:job, last_job), note = :note
WHERE name = :name
"""

# Use a range condition, since only the index of tasks has this order.
NEEDS_FIRST_VERSION = """
SELECT name FROM schedules
WHERE name = :name AND paused_at IS NULL AND NOT EXISTS (SELECT 1 FROM datasets WHERE name = :name)
  AND NOT EXISTS (SELECT 1 FROM jobs WHERE task >= :name AND task <= :name AND seq > 0)
"""

MARK_FIRST_VERSION = f"UPDATE jobs SET events = {event('first version')} WHERE id = :id"

SCHEDULES = "SELECT name, last_due, last_job, paused_at, note FROM schedules"
PAUSE_SCHEDULE = "UPDATE schedules SET paused_at = NOW WHERE name = :name AND paused_at IS NULL"
RESUME_SCHEDULE = "UPDATE schedules SET paused_at = NULL, watermark = NOW WHERE name = :name AND paused_at IS NOT NULL"


class ScheduleNotFound(LookupError):
    """No periodic task of this code has this name."""


class Fire(StrEnum):
    """Outcome of firing a due moment."""

    FIRED = "fired"
    QUEUED = "queued"  # to run after the previous run
    SKIPPED = "skipped"
    TAKEN = "taken"  # another consumer was first, or the schedule is paused


@dataclass(frozen=True, kw_only=True)
class ScheduleStatus:
    """Status of a schedule at one moment.

    Times are aware; `last_due` and `paused_at` are in the schedule's time zone. A value is None if it has not happened.
    """

    name: str  # the periodic task's, as Huey registers it: "app.jobs.prices.refresh"
    schedule: Schedule
    last_due: datetime | None
    last_job: str | None  # its job; without `last_due`, the job of a dataset's first version
    paused_at: datetime | None
    note: str  # why the last due moment was skipped, queued, made up or missed; "" if it ran as usual
    now: datetime  # the database's time, in UTC

    @property
    def short_name(self) -> str:
        return self.name.rpartition(".")[2]

    def upcoming(self, n: int = 3) -> list[datetime]:
        """Return the next due moments, at most `n`."""
        return list(islice(self.schedule.following(self.now), n))


class Timetable:
    """Schedules of one ledger, by the names of their tasks. Every method raises DatabaseUnavailable."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.database = ledger.database

    # --- for consumers ---

    def register(self, phrases: Mapping[str, str]) -> float:
        """Register schedules, as phrases by name, and return the database's time.

        A schedule that is new or has another phrase starts now: earlier due moments do not count.
        """
        with self.database.transaction() as tx:
            clock = tx.one(CLOCK)
            assert clock is not None
            for name, phrase in phrases.items():
                tx.run(REGISTER_SCHEDULE, name=name, phrase=phrase)
                tx.run(UPDATE_PHRASE, name=name, phrase=phrase)
        return float(clock["now"])

    def drop(self, known: Sequence[str], consumer: str, age_s: float, now: float = math.inf) -> list[str]:
        """Drop the schedules that no live consumer's code has, and return their names.

        :param known: the schedules that this consumer's code has.
        :param age_s: seconds after which another consumer without a heartbeat counts as dead.
        :param now: the calling consumer's estimate of the database's time. Another consumer counts as dead if it does by this
            time too, because the database's clock may just have jumped forward.
        """
        with self.database.statement() as tx:
            names = {row["name"] for row in tx.all(SCHEDULE_NAMES)} - set(known)
            if names:  # a consumer writes its list of tasks before it registers a schedule
                for other in tx.all(LIVE_CONSUMERS, consumer=consumer, age=age_s, now=now):
                    names -= set(json.loads(other["tasks"]))
            if names:
                tx.run(DROP_SCHEDULES, names=sorted(names))
        return sorted(names)

    def others_live(self, consumer: str, age_s: float, now: float = math.inf) -> bool:
        """Return whether another consumer sent a heartbeat in the last `age_s` seconds and has not deregistered.

        :param now: as for `drop`.
        """
        with self.database.statement() as tx:
            return bool(tx.all(LIVE_CONSUMERS, consumer=consumer, age=age_s, now=now))

    def watermarks(self, names: Sequence[str]) -> tuple[dict[str, Row], float]:
        """Return `watermark` and `paused_at` of these schedules by name, and the database's time just before the read."""
        with self.database.statement() as tx:
            clock = tx.one(CLOCK)
            assert clock is not None
            rows = {row["name"]: row for row in tx.all(WATERMARKS, names=list(names))}
        return rows, float(clock["now"])

    def fire(
        self, name: str, watermark: float, due: float, job: NewJob, *, overlap: Overlap, made_up: bool, moment: str
    ) -> Fire:
        """Insert the job of a due moment and move the watermark, in one transaction.

        :param watermark: the watermark that the caller read. If it has moved since, nothing is written.
        :param due: the due moment, in seconds since the epoch.
        :param made_up: whether the moment was missed and is fired late.
        :param moment: the due moment as text, for the schedule's note.
        """
        note = f"{moment} was made up: no consumer ran then." if made_up else ""
        fire = Fire.FIRED
        with self.database.transaction() as tx:
            row = tx.one(ADVANCE_WATERMARK, name=name, watermark=watermark, due=due)
            if row is None:
                return Fire.TAKEN
            before = tx.one(ACTIVE_RUN, id=row["last_job"])
            if before is not None and made_up and before["attempt"] == 0:
                before = None  # no consumer ran that could have started it
            if before is not None:
                reason = f"the previous run, job {before['id']}, was still {before['state']}."
                if overlap == "skip":
                    tx.run(NOTE_LAST_FIRE, name=name, due=None, job=None, note=f"{moment} was skipped: {reason}")
                    return Fire.SKIPPED
                fire, note = Fire.QUEUED, f"{moment} was queued: {reason}"
                job = replace(job, pending=1)
            if tx.one(INSERT, turn=None, **vars(job)) is not None:
                tx.run(MARK_FIRED, id=job.id, due_at=due, made_up=made_up)
                if (
                    before is not None
                ):  # any end of the previous run queues this job, as a chord's members do its callback
                    tx.run(SET_FOLLOWER, id=before["id"], follower=job.id, chord_index=0)
            tx.run(NOTE_LAST_FIRE, name=name, due=due, job=job.id, note=note)
        self.ledger.notify([job.queue])
        return fire

    def pass_over(self, name: str, watermark: float, due: float, note: str) -> None:
        """Move the watermark to a missed moment without making it up, and note why."""
        with self.database.transaction() as tx:
            if tx.one(ADVANCE_WATERMARK, name=name, watermark=watermark, due=due) is not None:
                tx.run(NOTE_LAST_FIRE, name=name, due=None, job=None, note=note)

    def make_first_version(self, name: str, job: NewJob) -> bool:
        """Insert the job that makes a dataset's first version.

        Return False if the ledger has a version or a job of the dataset, or if its schedule is paused.

        :param name: the name of the dataset, which is also that of its schedule.
        """
        with self.database.transaction() as tx:
            if tx.one(NEEDS_FIRST_VERSION, name=name) is None or tx.one(INSERT, turn=None, **vars(job)) is None:
                return False
            tx.run(MARK_FIRST_VERSION, id=job.id)
            tx.run(
                NOTE_LAST_FIRE, name=name, due=None, job=job.id, note="The first version did not wait for a due moment."
            )
        self.ledger.notify([job.queue])
        return True

    # --- for people ---

    def status(self, schedules: Mapping[str, Schedule]) -> list[ScheduleStatus]:
        """Return the status of these schedules, sorted by name. Schedules not registered yet have no history."""
        with self.database.statement() as tx:
            clock = tx.one(CLOCK)
            assert clock is not None
            rows = {row["name"]: row for row in tx.all(SCHEDULES)}
        unregistered = {"last_due": None, "last_job": None, "paused_at": None, "note": ""}
        found = []
        for name, schedule in sorted(schedules.items()):
            row = rows.get(name, unregistered)
            found.append(
                ScheduleStatus(
                    name=name,
                    schedule=schedule,
                    last_due=schedule.local(row["last_due"]),
                    last_job=row["last_job"],
                    paused_at=schedule.local(row["paused_at"]),
                    note=row["note"],
                    now=utc(clock["now"]),
                )
            )
        return found

    def pause(self, name: str) -> bool:
        """Pause a schedule until it is resumed. Return False if it was paused already."""
        with self.database.statement() as tx:
            return bool(tx.run(PAUSE_SCHEDULE, name=name))

    def resume(self, name: str) -> bool:
        """Resume a schedule. Moments missed during the pause are not made up. Return False if it was not paused."""
        with self.database.statement() as tx:
            return bool(tx.run(RESUME_SCHEDULE, name=name))


def full_name(name: str, known: Iterable[str]) -> str:
    """Return the full name of the one schedule with this full or short name. Raises ScheduleNotFound."""
    full_names = sorted(known)
    found = [full for full in full_names if name in (full, full.rpartition(".")[2])]
    if len(found) != 1:
        choices = ", ".join(found or full_names) or "none"
        problem = "Several schedules have" if found else "No schedule has"
        raise ScheduleNotFound(f"{problem} the name {name!r}. Known schedules: {choices}.")
    return found[0]
