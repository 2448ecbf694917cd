"""A host clock that is CLOCK_AHEAD seconds ahead. Python imports this module first if its folder is in PYTHONPATH."""

import datetime
import os
import time
from collections.abc import Callable
from functools import partial
from typing import Any

AHEAD = float(os.environ["CLOCK_AHEAD"])

_time, _gmtime, _localtime = time.time, time.gmtime, time.localtime
_DatetimeOfC = datetime.datetime


class _Datetimes(type):
    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, _DatetimeOfC)


class _Datetime(_DatetimeOfC, metaclass=_Datetimes):
    @classmethod
    def now(cls, tz: Any = None) -> Any:
        return cls.fromtimestamp(time.time(), tz)

    @classmethod
    def utcnow(cls) -> Any:
        return cls.now(datetime.UTC).replace(tzinfo=None)

    @classmethod
    def today(cls) -> Any:
        return cls.now()


_Datetime.__module__, _Datetime.__name__, _Datetime.__qualname__ = "datetime", "datetime", "datetime"  # for pickle


def _moved(convert: Callable[[float], time.struct_time], seconds: float | None = None) -> time.struct_time:
    return convert(time.time() if seconds is None else seconds)


time.time = lambda: _time() + AHEAD
time.time_ns = lambda: int(time.time() * 1e9)
# Partials, because logging makes one of these an attribute of a class, and a function would become a method there.
time.gmtime = partial(_moved, _gmtime)
time.localtime = partial(_moved, _localtime)
datetime.datetime = _Datetime  # type: ignore[misc]
