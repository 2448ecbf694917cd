"""Named queues: what they may be called, and which worker of a consumer serves which."""

import re
from collections.abc import Sequence

DEFAULT = "default"
NAME = re.compile(r"[a-z][a-z0-9_-]*")


def named(queue: str) -> str:
    """The name, if it may be a queue's. Raises ValueError."""
    if not isinstance(queue, str) or NAME.fullmatch(queue) is None:
        raise ValueError(
            f"{queue!r} is no name for a queue: it begins with a small letter, and goes on with small letters, digits, _ or -."
        )
    return queue


def parse(text: str | Sequence[str] | None) -> dict[str, int | None]:
    """`"interactive,heavy:1"`: each queue, and the most workers of a consumer that serve it; None for all of them.

    Without any, every worker serves every queue. Raises ValueError.
    """
    parts = text.split(",") if isinstance(text, str) else list(text or ())
    served: dict[str, int | None] = {}
    for part in filter(None, (part.strip() for part in parts)):
        name, colon, number = part.partition(":")
        if colon and not (number.isdecimal() and int(number) > 0):
            raise ValueError(
                f"{part!r} says no number of workers: write {name}:1, or a greater one, or {name} for all."
            )
        if named(name) in served:
            raise ValueError(f"The queue {name!r} is named twice.")
        served[name] = int(number) if colon else None
    return served


def share_out(served: dict[str, int | None], workers: int) -> list[list[str] | None]:
    """For each worker the queues that it serves; None for every queue. Raises ValueError if one is left without any."""
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
            f"Of {workers} workers, {lists.count([])} would serve no queue with {named_all}: "
            "name one queue without a number, which all of them serve, or have fewer workers."
        )
    return [list(one) for one in lists]
