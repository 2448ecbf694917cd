"""Limits: failed log-ins from an address, in a known browser and of a name, and the jobs that a user submits in a minute.

Each limit of log-ins is a leaky bucket (GCRA): some failures are free, and one more after each pause. Log-ins that have to wait
are not counted, so they prolong nothing. Times are the database's, in seconds since the epoch.
"""

import hashlib
import hmac
import ipaddress
import math
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from jobqueue.database.database import Database, Transaction

HOUR = 3600  # seconds
TRIES, PAUSE = 10, 300  # failed log-ins from an address or in a browser that are free, and seconds until one more is
# Of a name, from all unknown browsers. One address fills a tenth of it, and empties it no faster than it fills.
TRIES_OF_NAME, PAUSE_OF_NAME = 100, 30
WITH_PORT = re.compile(r"\[(.+)\](?::\d+)?|([^:]+):\d+")
NETWORK = 56  # bits of the IPv6 network that stands for an address: one subscriber may hold all of it

# `last_at` is when the last failure would have been if all had come one pause apart, so it may be in the future. `failures` is of
# earlier versions, which refuse a log-in at 10.
COUNT_FAILURE = """
INSERT INTO failed_logins (key, failures, last_at) VALUES (:key, 0, NOW + :pause)
ON CONFLICT (key) DO UPDATE SET failures = 0,
    last_at = CASE WHEN failed_logins.last_at > NOW THEN failed_logins.last_at ELSE NOW END + :pause
RETURNING last_at - NOW AS ahead
"""
UNCOUNT_FAILURE = "UPDATE failed_logins SET last_at = last_at - :pause WHERE key = :key"
FORGET_FAILURES = "DELETE FROM failed_logins WHERE key = :key"
PRUNE_FAILURES = "DELETE FROM failed_logins WHERE last_at < NOW - :hour"

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
    """Too many log-ins failed from this address, in this browser or for this name; the next has to wait `seconds`."""

    def __init__(self, seconds: float) -> None:
        wait = f"{math.ceil(seconds)} seconds" if seconds <= 90 else f"{math.ceil(seconds / 60)} minutes"
        super().__init__(f"Too many failed log-ins. Try again in {wait}.")
        self.seconds = seconds


class Limit(NamedTuple):
    """`tries` failures are free, and one more after each `pause` of so many seconds."""

    key: str
    tries: int
    pause: float


def limit_of_browser(device_id: str) -> Limit:
    """Return the limit of a known browser. No other applies there, so failures elsewhere do not keep its user out."""
    return Limit(f"browser {hashlib.sha256(device_id.encode()).hexdigest()}", TRIES, PAUSE)


def limit_of_address(address: str) -> Limit:
    return Limit(f"address {network(address)}", TRIES, PAUSE)


def limit_of_name(name: str, key: str) -> Limit:
    """Return the limit of a name.

    :param key: a secret. The database holds no names that were tried: they may be passwords in the wrong field.
    """
    return Limit(f"name {hmac.digest(key.encode(), name.encode(), 'sha256').hex()}", TRIES_OF_NAME, PAUSE_OF_NAME)


def count_attempt(tx: Transaction, limits: Sequence[Limit]) -> None:
    """Count a log-in as failed before its outcome is known, so that simultaneous ones all count.

    Raise TooManyFailures if one of the limits is reached. The transaction has to end with it, which counts nothing.
    """
    for limit in sorted(limits):  # so that two log-ins do not wait for each other
        row = tx.one(COUNT_FAILURE, key=limit.key, pause=limit.pause)
        wait = row["ahead"] - limit.tries * limit.pause if row else 0
        if wait > 0:
            raise TooManyFailures(wait)


def count_success(tx: Transaction, limits: Sequence[Limit]) -> None:
    """Take back what `count_attempt` counted. Other failures from an address may be guesses at other names."""
    for limit in sorted(limits):
        tx.run(UNCOUNT_FAILURE, key=limit.key, pause=limit.pause)
    tx.run(PRUNE_FAILURES, hour=HOUR)


def forget_failures(tx: Transaction, limit: Limit) -> None:
    tx.run(FORGET_FAILURES, key=limit.key)


def submitted(database: Callable[[], Database], owner: str, seconds: float, most: int) -> int:
    """Count the jobs that a user submitted in the last `seconds`. The count is exact below `most`."""
    with database().statement() as tx:
        row = tx.one(COUNT_SUBMITTED, owner=owner, most=most, seconds=seconds)
    return int(row["jobs"]) if row else 0


def network(address: str) -> str:
    """Return the address, or the network of an IPv6 address, that failures are counted for. "unknown" if it is none.

    Some proxies add the client's port, and a server that listens on IPv6 sees IPv4 addresses as ::ffff:192.0.2.1.
    """
    with_port = WITH_PORT.fullmatch(address)
    try:
        parsed = ipaddress.ip_address(with_port[1] or with_port[2] if with_port else address)
    except ValueError:
        return "unknown"
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(parsed.ipv4_mapped or ipaddress.ip_network((int(parsed), NETWORK), strict=False))
    return str(parsed)
