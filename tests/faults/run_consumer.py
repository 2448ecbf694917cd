"""A consumer as operators run it, in a separate process that signals stop: `run_consumer.py '{"storage": ..., ...}'`.

With `crash_points`, the consumer runs in a forked child that dies at each armed place. The parent then starts another
child at once, as a process manager would, but without importing everything again.
"""

import json
import logging
import os
import sys
from pathlib import Path

import jobqueue.consumer.consumer
import jobqueue.database.postgres
import jobqueue.database.sqlite
import jobqueue.ledger.housekeeping
from jobqueue import DurableHuey
from jobqueue.execution import executor
from tests.faults import crash_points
from tests.faults.fault_jobs import schedules_on, table_on, tasks_on
from tests.faults.moments import at
from tests.moved_clock import read_it

# Seconds between two passes of the main loop, and of an election. They are short because it dies many times.
TICK, TERM = 0.05, 0.2


def main() -> None:
    options = json.loads(sys.argv[1])
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(process)d %(levelname)s %(message)s")
    jobqueue.database.sqlite.BUSY_TIMEOUT = options["busy_timeout"]
    for name, value in options["postgres"].items():
        setattr(jobqueue.database.postgres, name, value)
    executor.READ_WITHIN = float(os.environ.get("READ_WITHIN", executor.READ_WITHIN))
    if options["moved_clock"]:
        read_it()
    for moment, what in options["at"].items():
        at(moment, *what)
    settings = {"secret_key": "a key for tests"} | options["storage"] | options["settings"]
    tasks = tasks_on(huey := DurableHuey("faults", **settings))
    if options["table"]:
        table_on(huey)
    for name in options["lacks"]:
        getattr(tasks, name).unregister()
    schedules_on(huey, options["schedules"])
    if options["crash_points"] is not None:
        die_again_and_again(huey, Path(options["crash_points"]))
    named = {name: options[name] for name in ("workers", "worker_type", "periodic", "queues")}
    huey.create_consumer(**named).run()


def die_again_and_again(huey: DurableHuey, folder: Path) -> None:
    """Fork a child, and return in it. The parent forks another child whenever one has died at a crash point."""
    jobqueue.consumer.consumer.TICK = TICK
    jobqueue.ledger.housekeeping.TERM = TERM
    crash_points.named_statements()

    while (pid := os.fork()) != 0:
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if code != crash_points.DIED:
            sys.exit(code)
    crash_points.install(folder)


if __name__ == "__main__":
    main()
