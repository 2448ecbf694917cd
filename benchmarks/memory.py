"""Memory of a consumer before and after 12,000 jobs that do nothing, on SQLite. Run by `make bench`.

Prints the proportional set size (PSS), in which shared memory counts once, of the main process and its workers
together, and the unique set size (USS), which only that process uses, of each worker. A worker's first full garbage
collections come within some thousands of jobs. They write to every object that they visit, and a page that is written
to is no longer shared.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil

ENGINE = Path(__file__).parents[1] / "engine" / "src"
JOBS = 12_000
WORKERS = 2
PATIENCE = 600.0  # seconds for all jobs
POLL = 0.5  # seconds between two checks of the queue
TASKS = """
from jobqueue import DurableHuey

huey = DurableHuey("bench", "sqlite:///{path}")

@huey.task()
def nothing():
    pass
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "bench_memory.py").write_text(TASKS.format(path=Path(folder, "jobs.sqlite")))
        sys.path[:0] = [folder, str(ENGINE)]
        import bench_memory  # type: ignore[import-not-found]

        environment = os.environ | {"PYTHONPATH": os.pathsep.join([folder, str(ENGINE)])}
        script = str(Path(sys.executable).with_name("huey_consumer"))
        command = [script, "bench_memory.huey", "-k", "process", "-w", str(WORKERS), "-q"]
        print(f"a consumer with {WORKERS} worker processes, SQLite (MB)")
        print(f"{'':16}{'PSS of all':>12}{'USS of each worker':>24}")
        with subprocess.Popen(command, env=environment, cwd=folder) as consumer:
            try:
                for label, jobs in ((f"after {WORKERS * 10} jobs", WORKERS * 10), (f"after {JOBS:,} jobs", JOBS)):
                    bench_memory.huey.enqueue_many([bench_memory.nothing.s() for _ in range(jobs)])
                    wait_until(lambda: has_ended(bench_memory.huey))
                    print_memory(label, psutil.Process(consumer.pid))
            finally:
                consumer.terminate()


def has_ended(huey: object) -> bool:
    """Return whether no job waits or runs."""
    from jobqueue import State

    return not any(huey.ledger.reading.count(state) for state in State if not state.ended)  # type: ignore[attr-defined]


def print_memory(label: str, main_process: psutil.Process) -> None:
    workers = [worker.memory_full_info() for worker in main_process.children()]
    pss = main_process.memory_full_info().pss + sum(worker.pss for worker in workers)
    print(f"{label:16}{pss / 1e6:12.0f}" + f"{', '.join(f'{worker.uss / 1e6:.0f}' for worker in workers):>24}")


def wait_until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > until:
            raise TimeoutError(f"The jobs did not end within {PATIENCE:g} s.")
        time.sleep(POLL)


if __name__ == "__main__":
    main()
