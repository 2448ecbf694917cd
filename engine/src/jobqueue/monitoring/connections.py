"""Connections of a deploy: how many an app needs while its old and its new processes run, and the workers that fit."""

from dataclasses import dataclass

SPARE = 2  # connections left to commands and to people
WEB = 2  # connections that a web process opens at most; as CONNECTIONS of database/postgres.py


@dataclass(frozen=True)
class ConnectionPlan:
    """The connections that are open, may be opened, and are needed by one consumer and one web process.

    >>> print(ConnectionPlan(used=3, most=20, workers=2, listens=True))
    A consumer with 2 workers opens up to 4 connections, a web process 2. A deploy runs both twice and needs 12. 3 of 20 are open.
    >>> ConnectionPlan(used=3, most=20, workers=9, listens=True).advice
    'Set WORKERS to 5, or use a database with more connections.'

    :param used: connections that are open.
    :param most: connections that the database accepts.
    :param workers: worker processes of a consumer.
    :param listens: whether a consumer holds one connection more, for notifications.
    """

    used: int
    most: int
    workers: int
    listens: bool

    @property
    def consumer(self) -> int:
        """Return the connections of a consumer: one for each worker, and those of its main process."""
        return self.workers + self._main

    @property
    def deploy(self) -> int:
        """Return the connections that are open while the old and the new release run side by side."""
        return 2 * (self.consumer + WEB)

    @property
    def fitting_workers(self) -> int:
        """Return the most workers with which a deploy leaves SPARE connections. It may be less than 1."""
        return (self.most - SPARE) // 2 - WEB - self._main

    @property
    def advice(self) -> str:
        """Return what to do if a deploy does not fit, else an empty text."""
        if self.workers <= self.fitting_workers:
            return ""
        if self.fitting_workers < 1:
            return "Use a database with more connections: a deploy does not fit even with WORKERS=1."
        return f"Set WORKERS to {self.fitting_workers}, or use a database with more connections."

    @property
    def refusal(self) -> str:
        """Return why this consumer can never run, and what would, or an empty text if it can.

        >>> ConnectionPlan(used=3, most=97, workers=500, listens=True).refusal
        '500 workers need 502 connections, and the database accepts 97. Start at most 44 workers (--workers 44 or WORKERS=44), or connect through a pooler such as PgBouncer.'
        """
        if self.consumer <= self.most:
            return ""
        fitting = self.fitting_workers
        mend = f"Start at most {fitting} workers (--workers {fitting} or WORKERS={fitting})"
        if fitting < 1:
            mend = "Use a database with more connections"
        return (
            f"{self.workers} workers need {self.consumer} connections, and the database accepts {self.most}. {mend}, or connect "
            "through a pooler such as PgBouncer."
        )

    @property
    def _main(self) -> int:
        return 2 if self.listens else 1

    def __str__(self) -> str:
        return (
            f"A consumer with {self.workers} workers opens up to {self.consumer} connections, a web process {WEB}. "
            f"A deploy runs both twice and needs {self.deploy}. {self.used} of {self.most} are open."
        )
