"""Objects of the app run their own code when the engine reads them. Whatever that code does, a job ends once and says why."""

import itertools
import logging
from collections.abc import Callable
from typing import Any

import pytest
from huey.exceptions import TaskException, TaskTimeout
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobqueue import ClaimLost, DurableHuey, State, current_job, interrupts, text
from jobqueue.jobs.job import Unreadable
from tests.engine.conftest import HueyFactory
from tests.engine.consumers import work


class OddText(str):
    """Text whose own methods fail."""

    def fail(self, *_: Any) -> Any:
        raise LookupError("a method of the text")

    __len__ = __getitem__ = __iter__ = __add__ = __contains__ = encode = strip = splitlines = fail  # type: ignore[assignment]


def raises(error: Callable[[Any], BaseException]) -> Callable[[Any], Any]:
    def act(self: Any) -> Any:
        raise error(self)

    return act


def hangs(_: Any) -> Any:
    """Do as a hanging method in a worker process: the job's timeout interrupts it, if the job can be interrupted now."""
    interrupts.request(current_job().token, lambda: TaskTimeout("Timed out while it hung."))


# What the code does -> how; and words for the job's error if that ends the conversion of all its text.
ACTS: dict[str, Callable[[Any], Any]] = {
    "raises": raises(lambda self: ValueError("from its own code")),
    "raises itself": raises(lambda self: self if isinstance(self, BaseException) else ValueError()),
    "exits": raises(lambda self: SystemExit(3)),
    "interrupts": raises(lambda self: KeyboardInterrupt()),
    "closes": raises(lambda self: GeneratorExit()),
    "is out of memory": raises(lambda self: MemoryError()),
    "pretends": raises(lambda self: ClaimLost("pretended")),
    "hangs": hangs,
    "returns None": lambda self: None,
    "returns bytes": lambda self: b"bytes",
    "returns an object": lambda self: object(),
    "returns odd text": lambda self: OddText("odd"),
    "returns megabytes": lambda self: "long " * 100_000,
    "recurses": lambda self: repr(self),
}

METHODS = [
    "__str__", "__repr__", "__format__", "__reduce_ex__", "__reduce__", "__getstate__", "__getattr__", "__getattribute__",
    "__setattr__", "__eq__", "__hash__", "__bool__", "__len__", "__iter__", "__dir__", "__array__", "__float__",
]  # fmt: skip
PROPERTIES = [
    "__class__", "__dict__", "__notes__", "__cause__", "__context__", "__traceback__", "__suppress_context__", "args", "size",
    "shape", "dtype", "metadata",
]  # fmt: skip
BASES: list[type] = [object, Exception, ValueError, KeyError, OSError, BaseException, KeyboardInterrupt, SystemExit]


def nasty_class(base: type, own: dict[str, str]) -> type:
    """Return a subclass whose methods and properties do what ACTS says."""

    def method(act: Callable[[Any], Any]) -> Callable[..., Any]:
        return lambda self, *_, **__: act(self)

    body = {name: method(ACTS[act]) if name in METHODS else property(ACTS[act]) for name, act in own.items()}
    return type("Nasty", (base,), body)


def nasty_classes(bases: list[type]) -> st.SearchStrategy[type]:
    own = st.dictionaries(st.sampled_from(METHODS + PROPERTIES), st.sampled_from(sorted(ACTS)), min_size=1, max_size=4)
    return st.builds(nasty_class, st.sampled_from(bases), own)


def logs(nasty: Any) -> None:
    logging.getLogger("app").warning("%s and %r", nasty, nasty)
    try:
        raise nasty if isinstance(nasty, BaseException) else ValueError(nasty)
    except BaseException:
        logging.getLogger("app").exception("caught")


# How a task uses such an object.
USES: dict[str, Callable[[Any], Any]] = {
    "returns it": lambda nasty: nasty,
    "returns it in a list": lambda nasty: [1, nasty],
    "returns it as a key": lambda nasty: {type(nasty): nasty, "a": 1},
    "raises an error about it": raises(lambda nasty: ValueError(nasty)),
    "raises an error because of it": lambda nasty: ("").join(nasty),
    "notes it": lambda nasty: current_job().progress(1, 2, nasty),
    "names a step so": lambda nasty: current_job().step(nasty, int),
    "keeps it": lambda nasty: current_job().step("a step", lambda: nasty),
    "logs it": logs,
}


SETTINGS = settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


NUMBERS = itertools.count()


def new_name() -> str:
    """Return a name for a task: all examples of a test share a Huey."""
    return f"task-{next(NUMBERS)}"


def check_ended(huey: DurableHuey, handle: Any, *states: State) -> str:
    """Check that a job has ended in its first attempt, that its text is within the limits, and that the worker goes on.

    Return the job's error.
    """
    job = handle.get_job()
    assert job.state in states, job.error
    assert (job.attempt, job.losses) == (1, 0)
    assert len(job.error) <= text.ERROR and len(job.traceback) <= text.TRACEBACK and len(job.note) <= text.NOTE
    if job.state is State.FAILED:
        with pytest.raises(TaskException) as raised:
            handle.get()
        assert len(str(raised.value)) <= text.ERROR
    after = huey.task(name=new_name())(lambda: "the worker goes on")()
    work(huey)
    assert after() == "the worker goes on"
    return str(job.error)


@SETTINGS
@given(kind=nasty_classes(BASES[1:]), with_handler=st.booleans())
def test_exception_with_code_of_its_own_fails_its_job_once(huey: DurableHuey, kind: type, with_handler: bool) -> None:
    ran: list[str] = []
    handled: list[str] = []

    @huey.task(name=new_name())
    def task() -> None:
        ran.append("task")
        raise kind()

    @huey.task(name=new_name())
    def handler(error: Exception) -> None:
        handled.append(type(error).__name__)

    handle = huey.enqueue(task.s().error(handler) if with_handler else task.s())
    work(huey)
    error = check_ended(huey, handle, State.FAILED)
    assert ran == ["task"]
    assert any(
        words in error for words in ("Nasty", "Timed out while it hung", "ClaimLost('pretended')", "odd", "long")
    )
    if with_handler and "ClaimLost" not in error:
        assert len(handled) == 1


@SETTINGS
@given(kind=nasty_classes(BASES), use=st.sampled_from(sorted(USES)))
def test_object_with_code_of_its_own_ends_its_job_once(huey: DurableHuey, kind: type, use: str) -> None:
    ran: list[str] = []

    @huey.task(name=new_name())
    def task() -> Any:
        ran.append("task")
        return USES[use](kind())

    handle = task()
    work(huey)
    check_ended(huey, handle, State.SUCCEEDED, State.FAILED)
    assert ran == ["task"]


class Argument:
    """An argument that does as ACTS says when it is read again, or shown."""

    def __init__(self, own: dict[str, str]) -> None:
        self.own = own

    def __reduce__(self) -> Any:
        return rebuilt, (self.own,)

    def __repr__(self) -> Any:
        return ACTS[self.own.get("__repr__", "raises")](self)

    __str__ = __repr__


def rebuilt(own: dict[str, str]) -> Any:
    return ACTS[own["rebuilt"]](None) if "rebuilt" in own else Argument(own)


@SETTINGS
@given(own=st.dictionaries(st.sampled_from(["rebuilt", "__repr__"]), st.sampled_from(sorted(ACTS)), min_size=1))
def test_argument_with_code_of_its_own_is_shown_or_fails_its_job_once(huey: DurableHuey, own: dict[str, str]) -> None:
    handle = huey.task(name=new_name())(lambda argument: None)(Argument(own))
    work(huey)
    check_ended(huey, handle, State.SUCCEEDED, State.FAILED)
    try:
        shown = text.brief(handle.get_job().args[0])
    except Unreadable as error:
        shown = str(error)
    assert 0 < len(shown) <= text.ERROR


class Broken(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


def test_exception_without_text_is_reported_by_its_type(huey: DurableHuey) -> None:
    @huey.task(retries=1)
    def task() -> None:
        raise Broken

    handle = task()
    work(huey)
    job = handle.get_job()
    assert (job.state, job.attempt, job.losses) == (State.FAILED, 2, 0)
    assert job.error == "Broken: <its str() raised RuntimeError>"
    assert "in task" in job.traceback and "Broken" in job.traceback
    with pytest.raises(TaskException, match=r"<Broken: its repr\(\) raised RuntimeError>"):
        handle.get()


def test_error_handler_gets_the_text_of_an_exception_that_cannot_be_stored(huey: DurableHuey) -> None:
    handled: list[Any] = []

    class Local(Exception):
        """A class that pickle cannot find."""

    @huey.task()
    def task() -> None:
        raise Local("the market is closed")

    huey.enqueue(task.s().error(huey.task(name="handler")(handled.append)))
    work(huey)
    (error,) = handled
    assert isinstance(error, TaskException)
    assert str(error) == "Local('the market is closed')"


def test_destructors_run_before_the_end_is_written(
    huey: DurableHuey, make_huey: HueyFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A destructor that hangs can be cancelled until then, and does not hold the worker's next job."""
    monkeypatch.setattr(logging.getLogger("huey"), "disabled", True)  # pytest would keep the record, and its error
    states: dict[str, State] = {}
    other = make_huey()

    class Closing:
        def __init__(self, name: str) -> None:
            self.name = name

        def __del__(self) -> None:
            states[self.name] = other.job(handles[self.name].id).state

    huey.results = False  # so that the object may be a result

    @huey.task()
    def returns() -> Closing:
        return Closing("returns")

    @huey.task()
    def fails() -> None:
        kept = Closing("fails")
        raise ValueError(str(kept.name))

    handles = {"returns": returns.s(), "fails": fails.s()}
    for task in handles.values():
        huey.enqueue(task)
    for _ in handles:
        claimed = huey.dequeue()
        assert claimed is not None
        huey.executor.execute(claimed, lambda: None)
    assert states == {"returns": State.RUNNING, "fails": State.RUNNING}


@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt()])
@pytest.mark.parametrize("moment", ["pre_execute", "post_execute", "signal"])
def test_hook_that_exits_fails_the_job_once(huey: DurableHuey, moment: str, error: BaseException) -> None:
    def hook(*args: Any) -> None:
        if getattr(args[0 if moment != "signal" else 1], "name", "") == "task":
            raise error

    if moment == "signal":
        huey.signal("executing")(hook)
    else:
        getattr(huey, moment)("hook")(hook)
    handle = huey.task(name="task")(lambda: 1)()
    work(huey)
    assert check_ended(huey, handle, State.FAILED) == f"The task exited with {error!r}."
