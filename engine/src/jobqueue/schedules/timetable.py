"""Schedules in the ledger: up to when each has been dealt with, and the one transaction that fires a moment.

A schedule's watermark only goes on from where whoever moves it has seen it, together with the insert of the job: of two
consumers that fire the same moment one finds it moved. It stays when jobs are pruned.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum

from jobqueue.database.database import Row
from jobqueue.ledger.dependents import SET_FOLLOWER
from jobqueue.ledger.ledger import Ledger
from jobqueue.ledger.records import NewJob
from jobqueue.ledger.sql import CLOCK, ENDED_STATES
from jobqueue.ledger.submitting import INSERT
from jobqueue.schedules.schedule import Overlap, Schedule

REGISTER_SCHEDULE = """
INSERT INTO schedules (name, phrase, watermark, note) VALUES (:name, :phrase, NOW, '') ON CONFLICT (name) DO NOTHING
"""

UPDATE_PHRASE = "UPDATE schedules SET phrase = :phrase, watermark = NOW WHERE name = :name AND phrase <> :phrase"
SCHEDULE_NAMES = "SELECT name FROM schedules"
DROP_SCHEDULES = "DELETE FROM schedules WHERE name IN EACH(:names)"
LIVE_CONSUMERS = "SELECT tasks FROM consumers WHERE id <> :consumer AND left_at IS NULL AND seen_at > NOW - :age"
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

SCHEDULES = "SELECT name, last_due, last_job, paused_at, note FROM schedules"
PAUSE_SCHEDULE = "UPDATE schedules SET paused_at = NOW WHERE name = :name AND paused_at IS NULL"
RESUME_SCHEDULE = "UPDATE schedules SET paused_at = NULL, watermark = NOW WHERE name = :name AND paused_at IS NOT NULL"


class ScheduleNotFound(LookupError):
    """No periodic task of this code has this name."""


class Fire(StrEnum):
    """What became of a due moment."""

    FIRED = "fired"
    QUEUED = "queued"  # behind the run before it
    SKIPPED = "skipped"
    TAKEN = "taken"  # another consumer was first, or the schedule is paused


@dataclass(frozen=True, kw_only=True)
class ScheduleStatus:
    """One look at a schedule. Times are aware, `last_due` in the schedule's time zone; None for what has not happened."""

    name: str  # the periodic task's, as Huey registers it: "app.jobs.prices.refresh"
    schedule: Schedule
    last_due: datetime | None
    last_job: str | None
    paused_at: datetime | None
    note: str  # what was out of the ordinary the last time; "" where nothing was
    now: datetime  # by the database's clock

    @property
    def short_name(self) -> str:
        return self.name.rpartition(".")[2]

    def upcoming(self, n: int = 3) -> list[datetime]:
        """The next due moments, n at most."""
        found: list[datetime] = []
        due = self.schedule.next_after(self.now)
        while due is not None and len(found) < n:
            found.append(due)
            due = self.schedule.next_after(due)
        return found


class Timetable:
    """The schedules of one ledger, by the names of their tasks. Raises DatabaseUnavailable when it does not answer."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.database = ledger.database

    # --- what consumers do ---

    def register(self, phrases: Mapping[str, str]) -> float:
        """Take in these schedules; one that is new, or whose phrase has changed, is due after now.

        Returns the database's time.
        """
        with self.database.transaction() as tx:
            clock = tx.one(CLOCK)
            assert clock is not None
            for name, phrase in phrases.items():
                tx.run(REGISTER_SCHEDULE, name=name, phrase=phrase)
                tx.run(UPDATE_PHRASE, name=name, phrase=phrase)
        return float(clock["now"])

    def drop(self, known: Sequence[str], consumer: str, age_s: float) -> list[str]:
        """Drop the schedules that neither this consumer's code knows nor that of others seen lately. Returns their names."""
        with self.database.statement() as tx:
            names = {row["name"] for row in tx.all(SCHEDULE_NAMES)} - set(known)
            if names:  # whoever registers one has said before what it knows
                for other in tx.all(LIVE_CONSUMERS, consumer=consumer, age=age_s):
                    names -= set(json.loads(other["tasks"]))
            if names:
                tx.run(DROP_SCHEDULES, names=sorted(names))
        return sorted(names)

    def others_live(self, consumer: str, age_s: float) -> bool:
        """Whether another consumer was seen lately, and has not said that it stops."""
        with self.database.statement() as tx:
            return bool(tx.all(LIVE_CONSUMERS, consumer=consumer, age=age_s))

    def watermarks(self, names: Sequence[str]) -> tuple[dict[str, Row], float]:
        """The rows of these schedules, with `watermark` and `paused_at`; and the database's time before they were read."""
        with self.database.statement() as tx:
            clock = tx.one(CLOCK)
            assert clock is not None
            rows = {row["name"]: row for row in tx.all(WATERMARKS, names=list(names))}
        return rows, float(clock["now"])

    def fire(
        self, name: str, watermark: float, due: float, job: NewJob, *, overlap: Overlap, made_up: bool, said: str
    ) -> Fire:
        """Accept a moment's job. `said` is the moment for people, in what is noted."""
        note = f"{said} was made up: no consumer ran then." if made_up else ""
        fire = Fire.FIRED
        with self.database.transaction() as tx:
            row = tx.one(ADVANCE_WATERMARK, name=name, watermark=watermark, due=due)
            if row is None:
                return Fire.TAKEN
            before = tx.one(ACTIVE_RUN, id=row["last_job"])
            if before is not None and made_up and before["attempt"] == 0:
                before = None  # nobody was there to begin it either
            if before is not None:
                goes_on = f"the run before it, job {before['id']}, was still {before['state']}."
                if overlap == "skip":
                    tx.run(NOTE_LAST_FIRE, name=name, due=None, job=None, note=f"{said} was skipped: {goes_on}")
                    return Fire.SKIPPED
                fire, note = Fire.QUEUED, f"{said} was queued: {goes_on}"
                job = replace(job, pending=1)
            if tx.one(INSERT, turn=None, **vars(job)) is not None:
                tx.run(MARK_FIRED, id=job.id, due_at=due, made_up=made_up)
                if (
                    before is not None
                ):  # its end, whatever it is, releases this one, as a chord's member does its callback
                    tx.run(SET_FOLLOWER, id=before["id"], follower=job.id, chord_index=0)
            tx.run(NOTE_LAST_FIRE, name=name, due=due, job=job.id, note=note)
        self.ledger.notify([job.queue])
        return fire

    def pass_over(self, name: str, watermark: float, due: float, note: str) -> None:
        """What was due until then has been missed, and is not made up."""
        with self.database.transaction() as tx:
            if tx.one(ADVANCE_WATERMARK, name=name, watermark=watermark, due=due) is not None:
                tx.run(NOTE_LAST_FIRE, name=name, due=None, job=None, note=note)

    # --- what people do ---

    def status(self, schedules: Mapping[str, Schedule]) -> list[ScheduleStatus]:
        """These schedules, by name; those that no consumer has taken in yet have nothing behind them."""
        with self.database.statement() as tx:
            clock = tx.one(CLOCK)
            assert clock is not None
            rows = {row["name"]: row for row in tx.all(SCHEDULES)}
        unknown = {"last_due": None, "last_job": None, "paused_at": None, "note": ""}
        found = []
        for name, schedule in sorted(schedules.items()):
            row = rows.get(name, unknown)
            found.append(
                ScheduleStatus(
                    name=name,
                    schedule=schedule,
                    last_due=schedule.there(row["last_due"]),
                    last_job=row["last_job"],
                    paused_at=schedule.there(row["paused_at"]),
                    note=row["note"],
                    now=datetime.fromtimestamp(clock["now"], UTC),
                )
            )
        return found

    def pause(self, name: str) -> bool:
        """Nothing is due until it is resumed. False if it was paused."""
        with self.database.statement() as tx:
            return bool(tx.run(PAUSE_SCHEDULE, name=name))

    def resume(self, name: str) -> bool:
        """What was due in between is not made up. False if it was not paused."""
        with self.database.statement() as tx:
            return bool(tx.run(RESUME_SCHEDULE, name=name))
