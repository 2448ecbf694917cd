"""Save and read the results of jobs. A failed job's result is its error, in the form that Huey gives it."""

import base64
import json
from typing import Any

from huey.utils import Error

from jobqueue import codec
from jobqueue.database.database import Row, Transaction
from jobqueue.ledger.records import ERROR, MORE

REPLACE_RESULT = """
ON CONFLICT (job_id) DO UPDATE SET media_type = excluded.media_type, body = excluded.body, saved_at = excluded.saved_at
""".strip()

SAVE_RESULT = f"""
INSERT INTO results (job_id, media_type, body, saved_at) VALUES (:id, :media_type, :body, NOW)
{REPLACE_RESULT}
"""

DELETE_RESULT = "DELETE FROM results WHERE job_id = :id"


def save_result(tx: Transaction, job_id: str, result: tuple[str, bytes]) -> None:
    """Save a job's result, given as media type and body. Replace an earlier one."""
    tx.run(SAVE_RESULT, id=job_id, media_type=result[0], body=result[1])


def value_of(row: Row) -> Any:
    """Return a job's result as Huey does: the value, an Error, or None if there is none.

    :param row: `media_type` and `body`, both None if nothing was saved.
    :raises ValueError: if this version of the code cannot decode the body.
    """
    if row["media_type"] is None:
        return None
    if row["media_type"] == ERROR:
        metadata = json.loads(row["body"])
        if (more := metadata.pop(MORE, None)) is not None:
            metadata |= codec.decode(codec.TREE, base64.b64decode(more))
        return Error(metadata)
    return codec.decode(row["media_type"], row["body"])
