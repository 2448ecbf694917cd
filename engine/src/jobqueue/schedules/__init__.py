"""Schedules of periodic tasks: `every(...)`, `cron(...)`, and the timetable that records which due moments were fired.

A due moment is fired once, in the transaction that inserts its job. Only timetable.py uses the database; the other modules
are pure functions of time.
"""

from jobqueue.schedules.phrases import NotUnderstood
from jobqueue.schedules.schedule import Schedule, cron, every
from jobqueue.schedules.timetable import ScheduleNotFound, ScheduleStatus, Timetable

__all__ = ["NotUnderstood", "Schedule", "ScheduleNotFound", "ScheduleStatus", "Timetable", "cron", "every"]
