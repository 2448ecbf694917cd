"""Dask for a job: processes of its own that never outlive it, or a shared cluster, and results as they come.

A job's own scheduler and workers are one program under a guard: whatever they do, they end at once with the block, and with this
process, even if it is killed. They accept connections of this process alone, by a certificate that is made for them: a scheduler
runs any code that it is sent, and other users of the machine reach its port.
"""

import asyncio
import importlib.util
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from multiprocessing.connection import wait
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from jobqueue import interrupts
from jobqueue.guard import Guard, socket_folder

if TYPE_CHECKING:
    from distributed import Client, Future, Security

logger = logging.getLogger("jobqueue.dask")

NEEDED = ("cryptography", "distributed")
CHECK = 1.0  # seconds between two looks whether the job has timed out or was cancelled
STARTS_IN = 120.0  # seconds that Dask's processes may take to start on a busy host
ANSWERS_IN = 10.0  # seconds that a scheduler may take to answer
CLOSES_IN = 2.0  # seconds that it may take to say goodbye to a client

ROOM = 512 * 2**20  # bytes of memory for each process. What its parts import takes a good part of it

SHARED_MEMORY = Path("/dev/shm")  # where Linux keeps semaphores

# Each processor has a part, so a part has one thread. Dask would set this for each worker, but a fork has read it before. Dask's
# MALLOC_TRIM_THRESHOLD_ is not among them: it costs a job with numpy a sixth of its time, and the processes end with the job.
ENVIRON = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

IMPORTS = "JOBQUEUE_DASK_IMPORTS"  # the variable with the names of the modules that `dask_imports` imports, as JSON

# The scheduler, and the nannies that start a worker again when it has died. A host's SIGTERM to all processes ends neither them nor the
# workers: the consumer lets the job end, or releases it. Processes that a part starts end as usual. The first line of the output is
# the address. What parts print goes to the log. Workers are forks of a server that has imported what they need; multiprocessing
# starts it at once, so that its imports take no time of the parts.
LAUNCH = """
import json, multiprocessing, os, signal, sys, tempfile
from multiprocessing import forkserver
signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the workers inherit it until they have a handler, which their processes do not inherit
output = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
given = json.loads(sys.stdin.readline())
multiprocessing.set_forkserver_preload(["distributed", "jobqueue.execution.dask_imports"])
multiprocessing.current_process()._config["semprefix"] = given["semaphores"]  # SIGKILL leaves them to the job's process
tempfile.tempdir = given["folder"]  # of the fork server's socket
forkserver.ensure_running()
tempfile.tempdir = None
import dask
from distributed import LocalCluster, Security
given |= json.loads(sys.stdin.readline())
dask.config.set({f"distributed.{role}.http.routes": [] for role in ("scheduler", "worker")})
dask.config.set({
    "distributed.worker.multiprocessing-method": "forkserver",
    "distributed.worker.profile.enabled": False,  # only a dashboard shows it
    "distributed.admin.tick.interval": "1s",  # 50 looks a second at each event loop would take a tenth of a processor
})
HANDLER = '''
import os, signal
signal.signal(signal.SIGTERM, lambda *_: None)
os.register_at_fork(after_in_child=lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL))
'''
cluster = LocalCluster(
    n_workers=given["workers"],
    threads_per_worker=1,
    memory_limit=given["memory"],
    host="127.0.0.1",
    local_directory=given["folder"],
    dashboard_address=None,
    scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},  # Dask always opens this port. Without routes it answers nothing
    security=Security(**given["security"]),
    preload=[HANDLER],
)
print(cluster.scheduler_address, file=output, flush=True)
while True:
    signal.pause()
"""


class DaskUnavailable(RuntimeError):
    """Dask is not installed, did not start, does not answer, or lost the parts of a job."""


def default_workers() -> int:
    """Return one for each processor, or fewer if there is less than ROOM for each. A container may limit both."""
    from dask.system import CPU_COUNT
    from distributed.system import MEMORY_LIMIT

    return max(1, min(CPU_COUNT, MEMORY_LIMIT // ROOM))


@contextmanager
def connected(
    workers: int | None, imports: Sequence[str], scheduler: str | None, check: Callable[[], None]
) -> Iterator["Client"]:
    """Yield a client of a new local cluster, or of the cluster at an address. See CurrentJob.dask.

    :param workers: the number of local processes. None for `default_workers`.
    :param imports: modules that the local processes import.
    :param scheduler: the address of a cluster, such as "tcp://10.0.0.5:8786". None to start local processes.
    :param check: called while local processes start. What it raises ends them.
    """
    if workers is not None and (not isinstance(workers, int) or isinstance(workers, bool) or workers < 1):
        raise ValueError(
            f"workers is {workers!r}: give a whole number of processes, 1 or more, or None for all processors."
        )
    if isinstance(imports, str) or not all(isinstance(name, str) for name in imports):
        raise ValueError(f'imports is {imports!r}: give a list of names of modules, such as ["sklearn.linear_model"].')
    if any(importlib.util.find_spec(package) is None for package in NEEDED):
        raise DaskUnavailable('job.dask needs the "dask" extra. Add it in pyproject.toml, then run make lock.')
    if scheduler:
        with _client(scheduler, None, ANSWERS_IN) as client:
            if not client.scheduler_info()["workers"]:
                logger.warning(
                    "The Dask scheduler at %s has no worker yet. Start one: dask worker %s", scheduler, scheduler
                )
            yield client
        return
    with (
        _local_cluster(workers, imports, check) as (address, security),
        _client(address, security, STARTS_IN) as client,
    ):
        yield client


def gather(
    client: "Client", futures: Iterable["Future[Any]"], report: Callable[[int, int], None], check: Callable[[], None]
) -> Iterator[Any]:
    """Yield results in the order in which they come. See CurrentJob.gather.

    :param report: called with the number of results that were taken, and the number of futures.
    :param check: called every CHECK seconds. What it raises cancels the futures that are not done.
    """
    from distributed import as_completed

    futures = list(futures)
    loop: Any = client.loop  # its own types call it optional
    completed = as_completed(futures, loop=loop)

    async def following() -> Any:
        future = await anext(completed)
        result = await client.gather(future, asynchronous=True)
        future.release()  # a result that was taken is not computed again when its worker dies
        return result

    try:
        for number in range(len(futures)):
            report(number, len(futures))
            yield _result(asyncio.run_coroutine_threadsafe(following(), loop.asyncio_loop), check)
        report(len(futures), len(futures))
    except CancelledError:
        raise DaskUnavailable(
            f"The Dask scheduler at {client._start_arg} is gone, or parts of this job were cancelled there. Run the job again: it "
            "keeps its saved steps."
        ) from None
    finally:
        if client.status == "running":
            client.cancel([future for future in futures if not future.done()])


def _result(following: Any, check: Callable[[], None]) -> Any:
    """Wait for a result, and check the job meanwhile. A thread has no other way to learn that it must stop."""
    while True:
        try:
            return following.result(CHECK)
        except TimeoutError:
            if following.done():  # the error is the part's own, or the result came just now
                return following.result()
        check()


def _connect(address: str, security: "Security | None", answers_in: float) -> "Client":
    """Connect to a scheduler.

    Dask raises an AssertionError if the scheduler tells all clients something in the moment that this one joins them, for example
    that a job's parts were cancelled. Then connect again.
    """
    from distributed import Client

    until = time.monotonic() + answers_in
    while True:
        try:
            return Client(address, security=security, timeout=answers_in)
        except AssertionError:
            if time.monotonic() > until:
                raise


@contextmanager
def _client(address: str, security: "Security | None", answers_in: float) -> Iterator["Client"]:
    """Connect to a scheduler. At the end of the block, it forgets what this client asked for, and does not run what is left."""
    try:
        client = _connect(address, security, answers_in)
    except (
        OSError,
        AssertionError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:  # the last three: no such protocol, or no certificate
        raise DaskUnavailable(
            f"The Dask scheduler at {address} does not answer within {answers_in:g} s: {error}. Start one with `dask scheduler`, "
            "or set DASK_SCHEDULER to its address, or to nothing to use processes of this machine."
        ) from error
    try:
        yield client
    finally:
        with interrupts.deferred(), suppress(TimeoutError):
            client.close(CLOSES_IN)


@contextmanager
def _local_cluster(
    workers: int | None, imports: Sequence[str], check: Callable[[], None]
) -> Iterator[tuple[str, "Security"]]:
    """Start a scheduler and its workers. Yield the address, and what a client needs to connect. Kill them at the end."""
    path = os.pathsep.join(folder or os.getcwd() for folder in sys.path)  # they import what this process can
    guard, program = Guard(), None
    with socket_folder("dask-") as folder:
        try:
            with interrupts.deferred():  # an interrupt in between would lose sight of the process
                program = subprocess.Popen(
                    [*guard.command, sys.executable, "-P", "-c", LAUNCH],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    env=ENVIRON | os.environ | {"PYTHONPATH": path, IMPORTS: json.dumps([*imports])},
                    **guard.options,
                )
            assert program.stdin is not None and program.stdout is not None
            with suppress(BrokenPipeError), program.stdin:
                _tell(program.stdin, {"folder": folder, "semaphores": f"/{Path(folder).name}"})
                from distributed import Security  # while it is imported there
                from distributed.system import MEMORY_LIMIT

                workers, security = workers or default_workers(), Security.temporary()
                # Dask pauses a process that takes more, and starts it again: with too little, the parts would never end.
                memory = max(MEMORY_LIMIT // workers, ROOM)
                _tell(program.stdin, {"workers": workers, "memory": memory, "security": _fields(security)})
            yield _read_address(program.stdout, check), security
        finally:
            guard.kill(program)
            if program is not None and program.stdout is not None:
                program.stdout.close()
            for semaphore in SHARED_MEMORY.glob(f"sem.{Path(folder).name}-*"):
                semaphore.unlink(missing_ok=True)


def _tell(program: IO[bytes], values: dict[str, Any]) -> None:
    program.write(json.dumps(values).encode() + b"\n")
    program.flush()


def _fields(security: "Security") -> dict[str, Any]:
    names = (
        "tls_ca_file",
        *(f"tls_{role}_{part}" for role in ("client", "scheduler", "worker") for part in ("cert", "key")),
    )
    return {name: getattr(security, name) for name in names} | {"require_encryption": True}


def _read_address(output: IO[bytes], check: Callable[[], None]) -> str:
    until = time.monotonic() + STARTS_IN
    while not wait([output.fileno()], CHECK):
        check()
        if time.monotonic() >= until:
            raise DaskUnavailable(
                f"Dask's processes did not start within {STARTS_IN:g} s. Give job.dask fewer workers."
            )
    address = output.readline().decode().strip()
    if not address:
        raise DaskUnavailable("Dask's processes ended while they started. The worker's output says why.")
    return address
