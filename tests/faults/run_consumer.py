"""A consumer as operators run it: its own process, stopped by signals. `run_consumer.py '{"url": ..., ...}'`.

With `crash_points` it dies at those that are armed there, and is started anew at once, as a process manager would: from a
process that has imported all.
"""

import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

from huey import crontab

import jobqueue.consumer
import jobqueue.sqlite
from jobqueue import DurableHuey
from tests.faults import crash_points
from tests.faults.fault_jobs import note, tasks_on


def main() -> None:
    options = json.loads(sys.argv[1])
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(process)d %(levelname)s %(message)s")
    jobqueue.sqlite.BUSY_TIMEOUT = options["busy_timeout"]
    if options["crash_points"] is not None:
        run_again_and_again(options, Path(options["crash_points"]))
    else:
        run(options)


def run(options: dict[str, Any], *also: Any) -> None:
    huey = DurableHuey("faults", options["url"], secret_key="a key for tests", **options["settings"])
    tasks_on(huey)
    for define in also:
        define(huey)
    huey.create_consumer(workers=options["workers"], worker_type=options["worker_type"]).run()


def run_again_and_again(options: dict[str, Any], folder: Path) -> None:
    """As long as it dies at crash points."""
    jobqueue.consumer.TURN = 0.05
    code = crash_points.DIED
    while code == crash_points.DIED:
        pid = os.fork()
        if pid == 0:
            crash_points.install(folder)
            run(options, lambda huey: every_minute(huey, str(folder / "fires.txt")))
            sys.exit()
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    sys.exit(code)


def every_minute(huey: DurableHuey, path: str) -> None:
    @huey.periodic_task(crontab())
    def fires() -> None:
        note(path, "fired")


if __name__ == "__main__":
    main()
