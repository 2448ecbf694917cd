"""Users of a pushed app, over HTTP: each starts jobs and watches them, has a background callback, and calls a quick one.

They speak as a page with its script does: on a connection of its own for each request, and a request that fails is repeated.
"""

import http.client
import itertools
import json
import re
import threading
import time
import traceback
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from typing import Any, NamedTuple
from urllib.parse import urlencode, urlsplit

from tests.end_to_end.running import PASSWORD

HOST = "127.0.0.1"
UPDATE = "/_dash-update-component"
LOOK = 1.0  # seconds between two looks at a job or a callback, as in a page
QUICK = 1.0  # seconds between two quick callbacks of a user
AGAIN = 0.25  # seconds until a failed request is repeated
PATIENCE = 90.0  # seconds that anything may take
COLUMNS = ("trouble", "shown", "address")


class Failure(NamedTuple):
    """A request that got no answer, or not the right one."""

    began: float  # seconds since 1970
    ended: float
    request: str
    answer: str


@dataclass
class Answers:
    """Everything that the users saw."""

    failures: list[Failure] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    count: Counter[str] = field(default_factory=Counter)
    jobs: dict[str, int] = field(default_factory=dict)  # the numbers to be squared, by the ids of the jobs


class Browser:
    """A browser behind the router, which has TLS end at it."""

    def __init__(self, port: int, answers: Answers) -> None:
        self.port, self.answers = port, answers
        self.cookies: dict[str, str] = {}
        self.headers = {"Origin": f"https://{HOST}:{port}", "Content-Type": "application/json"}

    def ask(self, method: str, path: str, body: str | None = None, headers: dict[str, str] | None = None) -> str:
        """Return the answer's text. Follow redirects, and repeat what fails, which is noted."""
        until = time.monotonic() + PATIENCE
        while True:
            began = time.time()
            try:
                status, text, place = self.once(method, path, body, self.headers | (headers or {}))
                problem = "" if status in (200, 204, 302) else f"{status} {text[:300]}"
            except (OSError, http.client.HTTPException) as error:
                status, text, place, problem = 0, "", "", repr(error)
            ended = time.time()
            self.answers.count["requests"] += 1
            if not problem:
                return self.ask("GET", place) if status == 302 else text
            self.answers.failures.append(Failure(began, ended, f"{method} {path[:60]}", problem))
            if time.monotonic() > until:
                raise TimeoutError(f"{method} {path} fails: {problem}")
            time.sleep(AGAIN)

    def once(self, method: str, path: str, body: str | None, headers: dict[str, str]) -> tuple[int, str, str]:
        """Ask once. Return status, text and where it redirects to. Raises OSError, http.client.HTTPException."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=30)
        try:
            cookies = "; ".join(f"{name}={value}" for name, value in list(self.cookies.items()))
            connection.request(method, path, body, headers | {"Cookie": cookies, "Connection": "close"})
            answer = connection.getresponse()
            for line in answer.headers.get_all("Set-Cookie", []):
                self.cookies |= {name: morsel.value for name, morsel in SimpleCookie(line).items()}
            place = urlsplit(answer.headers.get("Location", ""))
            return answer.status, answer.read().decode(), place._replace(scheme="", netloc="").geturl()
        finally:
            connection.close()

    def log_in(self, name: str) -> None:
        token = re.search(r'name="token" value="([^"]+)"', self.ask("GET", "/login"))
        assert token is not None
        form = urlencode({"token": token[1], "name": name, "password": PASSWORD})
        self.ask("POST", "/login", form, {"Content-Type": "application/x-www-form-urlencoded"})

    def update(self, body: dict[str, Any], headers: dict[str, str] | None = None, **query: str) -> Any:
        """Call a callback. Return the JSON of the answer."""
        path = UPDATE + (f"?{urlencode(query)}" if query else "")
        return json.loads(self.ask("POST", path, json.dumps(body), headers))


class User:
    """A user who has logged in, on the page /rehearsal. Each of the three things that the user does takes a thread."""

    def __init__(self, name: str, port: int, answers: Answers, job_s: float, numbers: Iterator[int]) -> None:
        self.browser, self.answers = Browser(port, answers), answers
        self.job_s, self.numbers = job_s, numbers
        self.browser.log_in(name)
        self.callbacks = [spec["output"] for spec in json.loads(self.browser.ask("GET", "/_dash-dependencies"))]

    def run_a_job(self) -> None:
        """Load the page, start a job, and look at it until it shows its result."""
        self.browser.ask("GET", "/rehearsal")
        number = next(self.numbers)
        begin = self.callback('"part":"trouble"', '"start":"app/pages/rehearsal"')
        ids = [{"job": "", "part": part, "start": "app/pages/rehearsal"} for part in COLUMNS]
        parts = zip(ids, [part.rpartition(".")[2] for part in begin[2:-2].split("...")], strict=True)
        asked = body(begin, [[{"id": id_, "property": name}] for id_, name in parts], "rehearsal-start.n_clicks", 1)
        answer = self.browser.update(asked | {"state": states(number, self.job_s)})
        addresses = [part["href"] for part in answer["response"].values() if "href" in part]
        if not addresses:
            raise RuntimeError(f"A job is not started: {answer}")
        job = addresses[0].partition("job=")[2]
        self.answers.jobs[job] = number
        self.browser.ask("GET", f"/rehearsal?job={job}")
        shown = self.until(lambda: self.look(job))
        self.expect("job", shown, str(number**2))

    def look(self, job: str) -> str | None:
        """Refresh the panel once. Return its result, or None while there is none."""
        own = {
            part: {"panel": "app.pages.rehearsal", "job": job, "part": part} for part in ("status", "result", "seen")
        }
        pace, tick = {"panels": "pace", "of": "page"}, {"panels": "tick", "of": "page"}
        kept = {"next": str(uuid.uuid4()), "given": {}}
        outputs = [(own["status"], "children"), (own["result"], "children"), (own["seen"], "data"), (pace, "data")]
        asked = {
            "output": self.callback('"part":"status"'),
            "outputs": [[{"id": id_, "property": name}] for id_, name in outputs],
            "inputs": [
                [{"id": tick, "property": "n_intervals", "value": 1}],
                [{"id": own["seen"], "property": "id", "value": own["seen"]}],
            ],
            "state": [
                [{"id": own["seen"], "property": "data", "value": kept}],
                [{"id": pace, "property": "data", "value": None}],
            ],
            "changedPropIds": [in_text(tick) + ".n_intervals"],
        }
        response = self.browser.update(asked)["response"]
        if not response[in_text(own["seen"])]["data"].get("ended"):
            return None
        result = response[in_text(own["result"])]["children"]
        if not result:
            return str(response[in_text(own["status"])])
        shown, _ = result  # the download is below it
        return str(shown["props"]["children"])

    def run_a_background_callback(self) -> None:
        number = next(self.numbers)
        output = "rehearsal-slow.children"
        asked = body(output, one(output), "rehearsal-background.n_clicks", number)
        asked["state"] = states(number, self.job_s)
        handles = self.browser.update(asked, {"Callback-Call": uuid.uuid4().hex}, endId="rehearsal")
        if "job" not in handles:
            raise RuntimeError(f"A background callback is not started: {handles}")
        query = {name: handles[name] for name in ("cacheKey", "job")}

        def look() -> Any:
            return self.browser.update(asked, endId="rehearsal", **query).get("response")

        self.expect("background", self.until(look), {"rehearsal-slow": {"children": number**2}})

    def call_a_quick_callback(self) -> None:
        number = next(self.numbers)
        output = "rehearsal-quick.children"
        began = time.monotonic()
        answer = self.browser.update(body(output, one(output), "rehearsal-number.value", number))
        self.expect("quick", answer["response"], {"rehearsal-quick": {"children": number**2}})
        time.sleep(max(0.0, began + QUICK - time.monotonic()))

    def callback(self, *parts: str) -> str:
        """Return the first callback that has these parts in its outputs."""
        return next(output for output in self.callbacks if all(part in output for part in parts))

    def until(self, look: Callable[[], Any]) -> Any:
        until = time.monotonic() + PATIENCE
        while (found := look()) is None:
            if time.monotonic() > until:
                raise TimeoutError(f"No result after {PATIENCE:g} s.")
            time.sleep(LOOK)
        return found

    def expect(self, what: str, answer: Any, expected: Any) -> None:
        self.answers.count[what] += 1
        if answer != expected:
            self.answers.wrong.append(f"{what}: {answer!r} instead of {expected!r}")


class Load:
    """Users who do all of it until the block ends. Then everything that they have begun ends too.

    :param job_s: seconds of a job and of a background callback.
    """

    def __init__(self, port: int, names: list[str], job_s: float) -> None:
        self.answers = Answers()
        self.over = threading.Event()
        numbers = itertools.count(1)
        users = [User(name, port, self.answers, job_s, numbers) for name in names]
        acts = [act for user in users for act in (user.run_a_job, user.run_a_background_callback, user.call_a_quick_callback)]  # fmt: skip
        self.threads = [threading.Thread(target=self.repeat, args=(act,)) for act in acts]

    def __enter__(self) -> Answers:
        for thread in self.threads:
            thread.start()
        return self.answers

    def __exit__(self, *exception: object) -> None:
        self.over.set()
        for thread in self.threads:
            thread.join()

    def repeat(self, act: Callable[[], None]) -> None:
        while not self.over.is_set():
            try:
                act()
            except Exception:
                self.answers.wrong.append(traceback.format_exc())
                return


def body(output: str, outputs: Any, changed: str, value: Any) -> dict[str, Any]:
    """Return the request by which a page calls a callback of one Input."""
    component, _, name = changed.rpartition(".")
    inputs = [{"id": component, "property": name, "value": value}]
    return {"output": output, "outputs": outputs, "inputs": inputs, "changedPropIds": [changed], "state": []}


def one(output: str) -> dict[str, str]:
    component, _, name = output.rpartition(".")
    return {"id": component, "property": name}


def states(number: int, seconds: float) -> list[dict[str, Any]]:
    values = {"number": number, "seconds": seconds}
    return [{"id": f"rehearsal-{name}", "property": "value", "value": value} for name, value in values.items()]


def in_text(component: dict[str, str]) -> str:
    return json.dumps(component, sort_keys=True, separators=(",", ":"))
