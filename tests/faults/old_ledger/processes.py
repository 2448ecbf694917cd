"""A consumer and a web process that use the engine in PYTHONPATH.

`python -m tests.faults.old_ledger.processes consumer '{"options": {"database_url": ...}, "workers": 2}'` runs jobs.
`... web '{"options": {"database_url": ...}}'` answers each line of input, `["call", "double", "number", 21]`, with a
line of JSON.
"""

import json
import logging
import re
import sys
from typing import Any

from huey import chord

from jobqueue import DurableHuey, JobHandle
from tests.faults.old_ledger.old_jobs import app_on, open_ledger, tasks_on, values_of_the_engine

ADDRESS = "/_dash-update-component"
TOLD, KEPT = "Callback-Told", "Callback-Kept"  # headers that a page of the old code sends and reads

Page = dict[str, Any]  # a page's data about the callback that it called


class Web:
    """The pages and the submits of a web process."""

    def __init__(self, huey: DurableHuey) -> None:
        self.huey = huey
        self.tasks = tasks_on(huey)
        self.browser = app_on(huey).server.test_client()

    def call(self, output: str, given: str, value: Any) -> Page:
        """Load a page and start the background callback of an output."""
        config = re.search(
            r'<script id="_dash-config" type="application/json">(.*?)</script>', self.browser.get("/").text
        )
        assert config is not None
        end_id = json.loads(config[1])["end_id"]
        body = {
            "output": f"{output}.children",
            "outputs": {"id": output, "property": "children"},
            "inputs": [{"id": given, "property": "value", "value": value}],
            "changedPropIds": [f"{given}.value"],
        }
        answer = self.browser.post(ADDRESS, query_string={"endId": end_id}, json=body)
        assert answer.status_code == 200 and answer.json is not None, answer.text
        return {
            "query": {"endId": end_id, "cacheKey": answer.json["cacheKey"], "job": answer.json["job"]},
            "body": body | {"inputs": [{"id": given, "property": "value", "value": None}]},
            "headers": {},
            "token": answer.headers.get(KEPT),
        }

    def poll(self, page: Page) -> dict[str, Any]:
        """Poll once for a callback's progress or answer."""
        answer = self.browser.post(ADDRESS, query_string=page["query"], json=page["body"], headers=page["headers"])
        return {"status": answer.status_code, "told": answer.headers.get(TOLD), **(answer.json or {})}

    def reload(self, page: Page) -> Any:
        """Return the component that called the job whose token is in the page's address."""
        return self.browser.get("/_callback", query_string={"token": page["token"]}).json

    def prices(self) -> Any:
        """Read the dataset's newest version."""
        return self.tasks.prices.read().to_json()

    def share(self, word: str) -> str:
        """Submit a unique job."""
        handle: JobHandle = self.tasks.share.using(unique=True)(word)
        return handle.id

    def submit(self) -> dict[str, str]:
        """Submit a job of each kind. Return their ids by name."""
        tasks, huey = self.tasks, self.huey
        first, second = huey.enqueue(tasks.add.s(1, 2).then(tasks.add, 3))
        gathered = huey.enqueue(chord([tasks.add.s(1), tasks.table.s()], tasks.collect.s()))
        handles = {
            "first": first,
            "second": second,
            "chord": gathered.callback,
            "failing": huey.enqueue(tasks.fail.s("on purpose").error(tasks.handle_error, "told")),
            "table": tasks.table(),
            "prices": tasks.prices.refresh(),
            "again": huey.enqueue(tasks.fail_once.s(retry_delay=0.1)),
            "walk": tasks.walk(3),
            "ann's": tasks.add.using(owner="ann", queue="other")(5),
            "describe": tasks.describe(*values_of_the_engine(tasks.prices.info())),
        }
        pages = {"double": self.call("double", "number", 21), "tell": self.call("tell", "word", "hello")}
        return {name: handle.id for name, handle in handles.items()} | {n: job_of(page) for n, page in pages.items()}


def job_of(page: Page) -> str:
    """Return the id of the job that a page waits for. The handle is the id, a tilde and a signature."""
    return str(page["query"]["job"]).partition("~")[0]


def web(options: dict[str, Any]) -> None:
    """Answer requests until the input ends."""
    process = Web(open_ledger(**options))
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        print(json.dumps(getattr(process, name)(*arguments)), flush=True)


def consumer(options: dict[str, Any], workers: int = 2, queues: str | None = None) -> None:
    """Run jobs until a signal stops it."""
    huey = open_ledger(**options)
    tasks_on(huey)
    app_on(huey)
    huey.create_consumer(workers=workers, worker_type="process", queues=queues).run()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(process)d %(levelname)s %(message)s")
    {"consumer": consumer, "web": web}[sys.argv[1]](**json.loads(sys.argv[2]))
