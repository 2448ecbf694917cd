"""A job's error in words for its user.

The errors of the queue itself tell an operator what to do. The command line shows them, and the jobs page of whoever may see
all jobs. Users read what happened to their job. An error of the app's own code is for users as it is.
"""

import re

from jobqueue.dash.formatting import size

ASK = "Tell the administrator of this app."

# The beginnings of the queue's errors, and what users read instead. A group is a number.
WORDS = {
    r"Its worker died (\d+) times": "It was interrupted {} times, so it is not tried again by itself. " + ASK,
    r"No worker knew its task": "This version of the app cannot run it. " + ASK,
    r"The job's message cannot be read": "It could not be started, because its arguments cannot be read. " + ASK,
    r"The job ran, but its end could not be written": "It ran, but its result could not be saved. " + ASK,
    r"Expired: no worker was free in time": "Expired: it did not start in time.",
    r"Timed out: the attempt exceeded its timeout": "Timed out: it ran longer than it may.",
    r"The value takes ([\d,]+) bytes; the limit .*? is ([\d,]+)": "It returned {}, more than the limit of {}.",
    r"[^:]* is a [\w.]+,? (?:which|that) cannot be saved": "Its result cannot be saved. " + ASK,
    r"The result contains itself": "Its result cannot be saved. " + ASK,
    r"The task exited with": "It stopped before it had finished. " + ASK,
}
BEFORE = re.compile(r"(Not run: the job before it) \([^)]*\) (failed|was cancelled)\. ?")


def is_of_app(error: str) -> bool:
    """Return whether an error comes from the app's own code, whose traceback helps those who write it."""
    return for_users(error) == error


def for_users(error: str) -> str:
    """Return an error without the words of operators. An error that is not the queue's own is returned as it is."""
    if before := BEFORE.match(error):
        return f"{before[1]} {before[2]}. {for_users(error[before.end() :])}".strip()
    for pattern, words in WORDS.items():
        if found := re.match(pattern, error):
            return words.format(*map(_number, found.groups()))
    return error


def _number(digits: str) -> str:
    """Return a number of times as it is, and a number of bytes as a size."""
    count = int(digits.replace(",", ""))
    return digits if count < 1000 else size(count)
