"""Connections to SQLite or Postgres, and migrations.

Each process has one pool, which is never carried over a fork. The dialects translate a small common SQL. Migrations run under
a lock at first use.
"""

from jobqueue.database.database import Database, DatabaseUnavailable, Row, Transaction

__all__ = ["Database", "DatabaseUnavailable", "Row", "Transaction"]
