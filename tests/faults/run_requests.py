"""A web process with crash points that makes each request in a forked child: `run_requests.py '{"storage": ...}'`.

Each of the `requests` is a list: the request's name, the point's name, and a file for notes. Prints the children's exit
codes.
"""

import json
import os
import sys
from pathlib import Path

from jobqueue import DurableHuey
from tests.faults import crash_points
from tests.faults.crash_table import REQUESTS
from tests.faults.fault_jobs import tasks_on


def main() -> None:
    options = json.loads(sys.argv[1])
    huey = DurableHuey("faults", **options["storage"], secret_key="a key for tests")
    tasks = tasks_on(huey)
    crash_points.named_statements()
    for request, name, path in options["requests"]:
        pid = os.fork()
        if pid == 0:
            crash_points.install(Path(options["crash_points"]))
            REQUESTS[request].ask(huey, tasks, name, path)
            sys.exit()
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


if __name__ == "__main__":
    main()
