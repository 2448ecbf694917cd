"""The rows that files leave in the database."""

from jobqueue import DurableHuey

TABLES = ("files", "file_pieces", "job_files")


def rows(huey: DurableHuey) -> dict[str, int]:
    """Return how many rows each table of files has."""
    with huey.ledger.database.statement() as tx:
        return {table: len(tx.all(f"SELECT 1 AS one FROM {table}")) for table in TABLES}
