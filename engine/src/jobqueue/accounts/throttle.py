"""Limits: failed log-ins of a name and from an address, and the jobs that a user submits in a minute.

Times are the database's, in seconds since the epoch.
"""

import ipaddress
import math
from collections.abc import Callable

from jobqueue.database.database import Database, Transaction

HOUR = 3600  # seconds
FREE_TRIES = 10  # failed log-ins in an hour, of a name or from an address, before each has to wait
PAUSE = 30  # seconds

PAUSE_LEFT = """
SELECT MAX(last_at + :pause - NOW) AS seconds FROM failed_logins
WHERE key IN EACH(:keys) AND failures >= :free AND last_at > NOW - :pause
"""
COUNT_FAILURE = """
INSERT INTO failed_logins (key, failures, last_at) SELECT known.value, 1, NOW FROM EACH(:keys) AS known WHERE TRUE
ON CONFLICT (key) DO UPDATE SET last_at = NOW,
    failures = CASE WHEN failed_logins.last_at > NOW - :hour THEN failed_logins.failures + 1 ELSE 1 END
"""
UNCOUNT_FAILURE = "UPDATE failed_logins SET failures = failures - 1, last_at = last_at - :pause WHERE key = :key"
FORGET_FAILURES = "DELETE FROM failed_logins WHERE key = :key OR last_at < NOW - :hour"

# Reads only as many of the owner's latest jobs as the limit allows. A unique job is counted by its handle.
COUNT_SUBMITTED = """
SELECT COUNT(*) AS jobs FROM (
    SELECT created_at, unique_key
    FROM (SELECT created_at, unique_key FROM jobs WHERE owner = :owner AND seq > 0 ORDER BY seq DESC LIMIT :most) AS own
    UNION ALL
    SELECT created_at, NULL
    FROM (SELECT created_at FROM handles WHERE owner = :owner ORDER BY seq DESC LIMIT :most) AS asked
) AS latest
WHERE unique_key IS NULL AND created_at > NOW - :seconds
"""


class TooManyFailures(Exception):
    """Too many log-ins failed for this name or from this address; the next has to wait `seconds`."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"Too many failed log-ins. Try again in {math.ceil(seconds)} seconds.")
        self.seconds = seconds


def count_attempt(tx: Transaction, name: str, address: str) -> None:
    """Count a log-in as failed before its outcome is known, so that simultaneous ones all count. Raises TooManyFailures."""
    keys = [_name_key(name), _address_key(address)]
    left = tx.one(PAUSE_LEFT, keys=keys, free=FREE_TRIES, pause=PAUSE)
    if left is not None and left["seconds"] is not None:
        raise TooManyFailures(left["seconds"])
    tx.run(COUNT_FAILURE, keys=keys, hour=HOUR)


def count_success(tx: Transaction, name: str, address: str) -> None:
    """Forget the failures of the name, and the one counted by `count_attempt` from the address.

    Its other failures stay: they may be guesses at other names.
    """
    forget_failures(tx, name)
    tx.run(UNCOUNT_FAILURE, key=_address_key(address), pause=PAUSE)


def forget_failures(tx: Transaction, name: str) -> None:
    tx.run(FORGET_FAILURES, key=_name_key(name), hour=HOUR)


def submitted(database: Callable[[], Database], owner: str, seconds: float, most: int) -> int:
    """Count the jobs that a user submitted in the last `seconds`. The count is exact below `most`."""
    with database().statement() as tx:
        row = tx.one(COUNT_SUBMITTED, owner=owner, most=most, seconds=seconds)
    return int(row["jobs"]) if row else 0


def _name_key(name: str) -> str:
    return f"name {name}"


def _address_key(address: str) -> str:
    """Return the key of an IP address. An IPv6 address stands for its /64 network, which one subscriber holds."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return "address unknown"
    if parsed.version == 6:
        return f"address {ipaddress.ip_network((parsed, 64), strict=False)}"
    return f"address {parsed}"
