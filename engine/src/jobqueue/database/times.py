"""Times as the database gives them: seconds since the epoch, and the aware datetimes in UTC that they stand for."""

from datetime import UTC, datetime, timedelta
from typing import overload

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@overload
def utc(seconds: float) -> datetime: ...
@overload
def utc(seconds: None) -> None: ...


def utc(seconds: float | None) -> datetime | None:
    """Return seconds since the epoch as an aware datetime in UTC, and None for None.

    Raises OverflowError outside the calendar's years 1 to 9999.
    """
    return None if seconds is None else EPOCH + timedelta(seconds=seconds)
