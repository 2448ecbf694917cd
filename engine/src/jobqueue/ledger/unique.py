"""Compute the key of a unique job. Submissions with equal keys share a run.

The key is a hash of the task's name and its arguments, or of a key that the caller gives. The arguments are compared as the function
receives them, so `f(1)` and `f(a=1)` are equal, and the order of dicts and sets does not matter. The hash must never change, because
keys of open runs are stored.
"""

import hashlib
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jobqueue import codec
from jobqueue.codec import structures
from jobqueue.files.file import File


def key_of(task: str, function: Callable[..., Any] | None, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    """Return the key of a call.

    :param function: the function of the task, whose signature names the arguments; None if it is unknown.
    :raises TypeError: for an argument of a type that cannot be compared.
    """
    return _digest(task, "arguments", _canonical(_by_name(function, args, kwargs)))


def own_key(task: str, key: str) -> str:
    """Return the key for a text that the caller gives. Equal texts of different tasks have different keys."""
    return _digest(task, "key", key)


def _digest(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _by_name(function: Callable[..., Any] | None, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Return the arguments by name, with defaults. Return them unchanged if they do not fit; the run then fails on its own."""
    if function is not None:
        try:
            bound = inspect.signature(function).bind_partial(*args, **kwargs)
        except (TypeError, ValueError):
            pass
        else:
            bound.apply_defaults()
            return bound.arguments
    return [list(args), dict(kwargs)]


def _canonical(value: Any) -> Any:
    """Return a JSON value that is the same for equal values."""
    kind = type(value)
    if value is None or kind in (bool, int, float, str):
        return value
    if kind is list:
        return [_canonical(item) for item in value]
    if kind is tuple:
        return {"tuple": [_canonical(item) for item in value]}
    if kind is dict:
        items = [[_canonical(key), _canonical(item)] for key, item in value.items()]
        return {"dict": sorted(items, key=lambda item: json.dumps(item[0]))}
    if kind in (set, frozenset):
        return {"set": sorted((_canonical(item) for item in value), key=json.dumps)}
    if kind is File:  # another upload of the same content is an equal argument
        return {"file": [value.name, value.sha256]}
    try:
        tag, write = structures.how_to_write(kind)
        if write is not None:
            return {tag: write(value, lambda item, place="": _canonical(item))}
        media_type, body = codec.encode(value)
    except (codec.ResultNotEncodable, ValueError) as error:
        raise TypeError(
            f"An argument of a unique job is a {kind.__module__}.{kind.__qualname__}, and two values of this type cannot be "
            "compared. Give a key of your own with .using(unique='...'), or pass an argument of another type."
        ) from error
    return {media_type: hashlib.sha256(body).hexdigest()}
