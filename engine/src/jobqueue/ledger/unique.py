"""When two submissions ask for the same: the key under which they share a run.

It is made of the task's name and of its arguments as the function sees them, so that `f(1)` and `f(a=1)` are one, whatever
order a dict or a set is in; or of the key that the caller gives.
"""

import hashlib
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jobqueue import codec


def key_of(task: str, function: Callable[..., Any] | None, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    """`function` is the task's code. Raises TypeError for an argument that cannot be compared."""
    return _digest(task, "arguments", _canonical(_by_name(function, args, kwargs)))


def own_key(task: str, key: str) -> str:
    """The caller's own, within the task."""
    return _digest(task, "key", key)


def _digest(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _by_name(function: Callable[..., Any] | None, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Arguments with the defaults; as they are where they do not fit, which the run will say."""
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
    """What JSON holds, and is the same for equal values."""
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
    try:
        media_type, body = codec.encode(value)
    except codec.ResultNotEncodable as error:
        raise TypeError(
            f"An argument is a {kind.__module__}.{kind.__qualname__}, and whether two of these are the same cannot be told. "
            "Give a key of your own, .using(unique='...'), or an argument of another type."
        ) from error
    return {media_type: hashlib.sha256(body).hexdigest()}
