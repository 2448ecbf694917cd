"""Many consumers in one go: `run_many.py '{"storage": ..., "workers": {"host-1": 2, ...}, ...}'`.

One process imports everything and forks a consumer for each host name, as if each ran on a machine of its own. It prints a line for
each, `HOST started PID`, and at its end `HOST ended CODE`. All of them die with it.
"""

import json
import logging
import os
import socket
import sys
from functools import partial

from jobqueue import DurableHuey
from jobqueue.consumer.processes import die_with_parent
from tests.faults.fault_jobs import schedules_on, tasks_on


def main() -> None:
    options = json.loads(sys.argv[1])
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(process)d %(levelname)s %(message)s")
    huey = DurableHuey("faults", secret_key="a key for tests", **options["storage"], **options["settings"])
    tasks_on(huey)
    schedules_on(huey, options["schedules"])
    parent = os.getpid()
    hosts = {}
    for host, workers in options["workers"].items():
        if (pid := os.fork()) == 0:
            die_with_parent(parent)
            socket.gethostname = partial(str, host)
            huey.create_consumer(workers=workers, worker_type="process").run()
            sys.exit()
        hosts[pid] = host
        tell(f"{host} started {pid}")
    for _ in list(hosts):
        pid, status = os.wait()
        tell(f"{hosts[pid]} ended {os.waitstatus_to_exitcode(status)}")


def tell(line: str) -> None:
    """Print a line in a single write, so that the test never reads half of it."""
    os.write(sys.stdout.fileno(), f"{line}\n".encode())


if __name__ == "__main__":
    main()
