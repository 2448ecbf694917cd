"""Connect to SQLite or Postgres, run the ledger's statements, and migrate the schema.

Statements are written once in a small common SQL, and a dialect translates them. Each process has one pool, which a fork never
inherits. Migrations run under a lock at the first use, so any number of processes may start at once.
"""

from jobqueue.database.database import Database, DatabaseUnavailable, Row, Transaction

__all__ = ["Database", "DatabaseUnavailable", "Row", "Transaction"]
