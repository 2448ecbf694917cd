"""Named queues: valid names, and the assignment of queues to the workers of a consumer."""

import re
from collections.abc import Sequence

DEFAULT = "default"
NAME = re.compile(r"[a-z][a-z0-9_-]{0,99}")


def named(queue: str) -> str:
    """Return the name of a queue.

    :raises ValueError: unless it starts with a lowercase letter and consists of at most 100 lowercase letters, digits, _ and -.
    """
    if not isinstance(queue, str) or NAME.fullmatch(queue) is None:
        raise ValueError(
            f"{queue!r} is not a valid name for a queue. Start it with a lowercase letter, followed by at most 99 lowercase letters, "
            "digits, _ or -."
        )
    return queue


def parse(text: str | Sequence[str] | None) -> dict[str, int | None]:
    """Parse the queues that a consumer serves, such as `"interactive,heavy:1"`.

    :param text: names separated by commas. A number after a colon is the most workers that serve the queue. If it is empty, every
        worker serves every queue.
    :returns: the number for each name; None for all workers.
    :raises ValueError: for an invalid name or number, or a name that is given twice.

    >>> parse("interactive,heavy:1")
    {'interactive': None, 'heavy': 1}
    """
    parts = text.split(",") if isinstance(text, str) else list(text or ())
    served: dict[str, int | None] = {}
    for part in filter(None, (part.strip() for part in parts)):
        name, colon, number = part.partition(":")
        if colon and not (number.isdecimal() and int(number) > 0):
            raise ValueError(
                f"{part!r} has no valid number of workers. Write {name}:1 or a larger number, or {name} for all workers."
            )
        if named(name) in served:
            raise ValueError(f"The queue {name!r} is given twice. Give it once.")
        served[name] = int(number) if colon else None
    return served


def share_out(served: dict[str, int | None], workers: int) -> list[list[str] | None]:
    """Return the queues of each worker; None for every queue.

    :param served: the queues, as `parse` returns them.
    :param workers: the number of workers.
    :raises ValueError: if a worker would serve no queue.

    >>> share_out({"interactive": None, "heavy": 1}, workers=2)
    [['interactive', 'heavy'], ['interactive']]
    """
    if not served:
        return [None] * workers
    lists: list[list[str]] = [[name for name, most in served.items() if most is None] for _ in range(workers)]
    place = 0
    for name, most in served.items():
        for _ in range(min(most or 0, workers)):
            lists[place % workers].append(name)
            place += 1
    if not all(lists):
        named_all = ", ".join(name if most is None else f"{name}:{most}" for name, most in served.items())
        raise ValueError(
            f"Of {workers} workers, {lists.count([])} would serve no queue with {named_all}. "
            "Give one queue without a number, so that all workers serve it, or start fewer workers."
        )
    return [list(one) for one in lists]
