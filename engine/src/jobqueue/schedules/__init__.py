"""When periodic tasks are due: `every(...)`, `cron(...)`, and the timetable of the moments that were fired.

A due moment is fired once, in the transaction that inserts its job. Everything but timetable.py is pure.
"""

from jobqueue.schedules.phrases import NotUnderstood
from jobqueue.schedules.schedule import Schedule, cron, every
from jobqueue.schedules.timetable import ScheduleNotFound, ScheduleStatus, Timetable

__all__ = ["NotUnderstood", "Schedule", "ScheduleNotFound", "ScheduleStatus", "Timetable", "cron", "every"]
