"""Text that jobs say: its limits, the cut, and the conversion of any object or exception to text.

An object of the app runs its own code when it is turned into text. That code may raise any exception, hang, or return many
megabytes. So the engine converts such objects here and nowhere else: nothing but an interrupt of the running job comes out of
these functions. An interrupt ends a conversion that hangs.
"""

import reprlib
import traceback
from collections.abc import Callable, Iterable
from hashlib import sha256
from types import TracebackType
from typing import Any

from huey.exceptions import TaskTimeout

from jobqueue import interrupts

# Limits in characters. The last of them contain the note that says how much was cut.
ERROR = 4_000  # the sentence about an error, or the reason of a cancel
WITHIN = ERROR - 300  # an error within such a sentence
TRACEBACK = 16_000  # the traceback of a job
EARLIER_TRACEBACK = 4_000  # the traceback of each attempt in a job's history
NOTE = 1_000  # what a job is doing now
STEP = 500  # the name of a step
LOG_LINE = 1_000  # a line of a job's log
LOG_NAME = 200  # the logger and the level of such a line
TITLE = 300  # the title of a panel
LISTED = 300  # an error or a note in a list of jobs
ARGUMENT = 2_000  # an argument, where it is shown
TYPE = 200  # the name of a type

LOG_LINES = 200  # lines of a job's log that are kept, the last ones

INTERRUPTS = interrupts.ClaimLost, interrupts.OutOfTime, TaskTimeout

_name = type.__dict__["__name__"].__get__  # a metaclass may have a property of that name
_module = type.__dict__["__module__"].__get__
_qualname = type.__dict__["__qualname__"].__get__


def storable(text: str) -> str:
    """Return text that every database accepts. Postgres refuses NUL, and text from file names may contain lone surrogates."""
    return str(text).encode("utf-8", "replace").decode().replace("\0", "?")


def is_storable(text: str) -> bool:
    """Return whether every database accepts a text: it has neither NUL nor lone surrogates."""
    return "\0" not in text and (text.isascii() or text == storable(text))


def cut(text: str, limit: int) -> str:
    """Return a text of at most `limit` characters. Cut a longer one at its end, and note its size.

    >>> cut("x" * 20_000_000, 20)
    'xxxxx… (cut, 20 MB)'
    """
    if len(text) <= limit:
        return text
    note = f"… (cut, {_size(text)})"
    return text[: limit - len(note)] + note


def cut_start(text: str, limit: int) -> str:
    """Return a text of at most `limit` characters. Cut a longer one at its start, as the end of a traceback says the most."""
    if len(text) <= limit:
        return text
    note = f"(cut, {_size(text)}) …"
    return note + text[len(note) - limit :]


def name_of(text: str, limit: int) -> str:
    """Return a text as a name that every database accepts, of at most `limit` characters. Different texts have different names."""
    text = str.__str__(text)
    kept = storable(text)
    if kept == text and len(text) <= limit:
        return text
    note = f"… (cut, {_size(text)}, {sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:16]})"
    return kept[: limit - len(note)] + note


def said(value: Any, limit: int) -> str:
    """Return `str(value)` as text that every database accepts, cut at `limit` characters."""
    return _converted(str, value, limit, lambda error: f"<its str() raised {error}>")


def shown(value: Any, limit: int = ERROR, convert: Callable[[Any], str] = repr) -> str:
    """Return `repr(value)` as text that every database accepts, cut at `limit` characters.

    :param convert: returns the text in place of `repr`.
    """
    return _converted(convert, value, limit, lambda error: f"<{type_name(value)}: its repr() raised {error}>")


def brief(value: Any) -> str:
    """Return an argument as pages and commands show it. Shorten long lists and dicts."""
    return shown(value, ARGUMENT, _brief.repr)


def type_name(value: Any) -> str:
    """Return the name of a value's type."""
    return storable(cut(_name(type(value)), TYPE))


def full_type_name(value: Any) -> str:
    """Return the name of a value's type with its module, such as "app.models.Fit"."""
    module = _module(type(value))
    return storable(cut(f"{module if type(module) is str else '?'}.{_qualname(type(value))}", TYPE))


def formatted(exception: BaseException) -> str:
    """Return an exception with its traceback as Python prints it, of at most TRACEBACK characters.

    Leave out the outer frames of Huey and of the engine.
    """
    trace = from_the_task(trace_of(exception))

    def convert(_: BaseException) -> str:
        return _joined(traceback.TracebackException(type(exception), exception, trace).format())

    def without_message(error: str) -> str:
        last = f"{type_name(exception)}: <its traceback cannot be formatted: {error}>"
        return _joined(["Traceback (most recent call last):", *traceback.format_tb(trace), last])

    return _converted(convert, exception, TRACEBACK, without_message, cut_start)


def trace_of(exception: BaseException) -> TracebackType | None:
    """Return the traceback of an exception, whose class may have an attribute of that name."""
    trace: TracebackType | None = BaseException.__dict__["__traceback__"].__get__(exception)
    return trace


def from_the_task(trace: TracebackType | None) -> TracebackType | None:
    """Return a traceback without the outer frames, which belong to Huey and to this package."""
    inner = trace
    while inner is not None and _package(inner) in ("huey", "jobqueue"):
        inner = inner.tb_next
    return inner or trace


def _package(trace: TracebackType) -> str:
    name = trace.tb_frame.f_globals.get("__name__")
    return name.partition(".")[0] if type(name) is str else ""


def _joined(parts: Iterable[str]) -> str:
    """Join the parts of a traceback. Cut each, as a long message would leave no room for the frames."""
    return "".join(cut(part.rstrip("\n"), ERROR) + "\n" for part in parts)


def _converted(
    convert: Callable[[Any], str],
    value: Any,
    limit: int,
    failed: Callable[[str], str],
    shorten: Callable[[str, int], str] = cut,
) -> str:
    try:
        text = str.__str__(convert(value))  # a subclass of str has methods of its own
        return storable(shorten(text, limit))
    except BaseException as error:
        if interrupts.exposed() and issubclass(type(error), INTERRUPTS):
            raise
        return storable(shorten(failed(type_name(error)), limit))


def _size(text: str) -> str:
    return size(len(text.encode("utf-8", "replace")))


def size(count: float) -> str:
    """Return a number of bytes in words: 12 bytes, 1.5 kB, 64 MB, 1.02 GB."""
    for unit in ("bytes", "kB", "MB"):
        if count < 999.5:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.2f} GB"


_brief = reprlib.Repr()
_brief.maxstring = _brief.maxother = ARGUMENT
_brief.maxlist = _brief.maxtuple = _brief.maxdict = _brief.maxset = _brief.maxfrozenset = 100
