"""TODO-DOC."""

import json
from typing import Any

from huey.utils import Error

from jobqueue import codec
from jobqueue.database.database import Row
from jobqueue.ledger.records import ERROR


def value_of(row: Row) -> Any:
    """A result as Huey has it: the value, or an Error.

    `row` has media_type and body, which are None where nothing was saved.
    """
    if row["media_type"] is None:
        return None
    if row["media_type"] == ERROR:
        return Error(json.loads(row["body"]))
    return codec.decode(row["media_type"], row["body"])
