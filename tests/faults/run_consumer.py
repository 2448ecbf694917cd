"""A consumer as operators run it: its own process, stopped by signals. `run_consumer.py '{"storage": ..., ...}'`."""

import json
import logging
import sys

import jobqueue.postgres
import jobqueue.sqlite
from jobqueue import DurableHuey
from tests.faults.fault_jobs import tasks_on
from tests.faults.moments import at


def main() -> None:
    options = json.loads(sys.argv[1])
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(process)d %(levelname)s %(message)s")
    jobqueue.sqlite.BUSY_TIMEOUT = options["busy_timeout"]
    for name, value in options["postgres"].items():
        setattr(jobqueue.postgres, name, value)
    for moment, what in options["at"].items():
        at(moment, *what)
    settings = {"secret_key": "a key for tests"} | options["storage"] | options["settings"]
    tasks = tasks_on(huey := DurableHuey("faults", **settings))
    for name in options["lacks"]:
        getattr(tasks, name).unregister()
    huey.create_consumer(workers=options["workers"], worker_type=options["worker_type"]).run()


if __name__ == "__main__":
    main()
