"""A page of a Dash app without a browser. It speaks the renderer's protocol and keeps what a person would see.

What the renderer does with an answer (dash-renderer's handleServerside), this does; and what our script adds to a poll.
"""

import json
import re
import time
from collections.abc import Mapping
from typing import Any

from dash import Dash
from werkzeug.test import TestResponse

from tests.waiting import INTERVAL

TOLD = "Callback-Told"
ADDRESS = "/_dash-update-component"

NONE: Mapping[str, str] = {}

Props = dict[str, Any]  # by "id.property"


class Page:
    """One load of a page. `shown` has the current values of its properties, `seen` all values in order."""

    def __init__(self, app: Dash, *, cookies: Mapping[str, str] | None = None, **shown: Any) -> None:
        self.browser = app.server.test_client()
        for name, value in (cookies or {}).items():
            self.browser.set_cookie(name, value)
        index = self.browser.get("/").text
        config = re.search(r'<script id="_dash-config" type="application/json">(.*?)</script>', index)
        assert config is not None, index
        self.end_id = json.loads(config[1])["end_id"]
        self.callbacks = {spec["output"]: spec for spec in json.loads(self.browser.get("/_dash-dependencies").text)}
        self.shown: Props = {}
        self.seen: list[tuple[str, Any]] = []

    def show(self, props: Props) -> None:
        self.shown |= props
        self.seen += props.items()

    def values(self, prop: str) -> list[Any]:
        """Return all values of a property, in order."""
        return [value for name, value in self.seen if name == prop]

    def post(self, body: dict[str, Any], headers: Mapping[str, str] = NONE, **query: Any) -> TestResponse:
        return self.browser.post(ADDRESS, query_string={"endId": self.end_id} | query, json=body, headers=dict(headers))

    def call(
        self, output: str, *, match: Any = None, old: "Call | None" = None, changed: str = "", **inputs: Any
    ) -> "Call":
        """Call the callback of an output with these values of its Inputs, by their ids.

        `match` stands for MATCH in pattern-matching ids. `old` is an earlier call of the same that has not ended.
        `changed` is the input that did; by default the first.
        """
        spec = self.callbacks[output]
        body = {
            "output": output,
            "outputs": outputs_of(output, match),
            "inputs": [value_of(item, match, inputs) for item in spec["inputs"]],
            "state": [value_of(item, match, inputs) for item in spec["state"]],
        }
        did = [item for item in body["inputs"] if item["id"] == changed] or body["inputs"]
        body["changedPropIds"] = [f"{in_text(item['id'])}.{item['property']}" for item in did[:1]]
        return Call(self, spec, body, {} if old is None else {"oldJob": [old.job]})

    def cancel(self, output: str, *calls: "Call", **inputs: Any) -> None:
        """Call the callback that Dash makes of `cancel=`."""
        spec = self.callbacks[output]
        body = {
            "output": output,
            "outputs": outputs_of(output, None),
            "inputs": [value_of(item, None, inputs) for item in spec["inputs"]],
            "changedPropIds": [],
        }
        response = self.post(body, cancelJob=[call.job for call in calls])
        assert response.status_code == 200, response.text


class Call:
    """One call of a background callback."""

    def __init__(self, page: Page, spec: dict[str, Any], body: dict[str, Any], query: dict[str, Any]) -> None:
        self.page, self.body = page, body
        self.running = spec.get("running") or {}
        self.handles: dict[str, str] = {}
        self.progress_default: Props = {}
        self.told: dict[str, str] = {}
        self.ended = False
        self.failed = ""  # what the server said where it was not 200 or 204
        page.show(self.running.get("running", {}))
        answer = page.post(body, **query)
        if answer.status_code == 200:
            assert answer.json is not None
            self.handles = {name: answer.json[name] for name in ("cacheKey", "job")}
            self.progress_default = answer.json.get("progressDefault", {})
        else:
            self._take(answer)

    @property
    def job(self) -> str:
        """Return the signed handle."""
        return self.handles["job"]

    def poll(self, lost: bool = False, **headers: str) -> TestResponse:
        """Poll once. A `lost` answer changes nothing here."""
        blank = [{**item, "value": None} if isinstance(item, dict) else item for item in self.body["inputs"]]
        answer = self.page.post(self.body | {"inputs": blank}, headers=self.told | headers, **self.handles)
        if not lost:
            self._take(answer)
        return answer

    def wait(self, timeout: float = 15.0) -> "Call":
        """Poll until the callback has ended."""
        until = time.monotonic() + timeout
        while not self.ended:
            if time.monotonic() > until:
                raise TimeoutError(f"Not ended within {timeout:g} s; seen: {self.page.seen}")
            time.sleep(INTERVAL)
            self.poll()
        return self

    def _take(self, answer: TestResponse) -> None:
        if answer.status_code == 200:
            assert answer.json is not None
            if TOLD in answer.headers:
                self.told = {TOLD: answer.headers[TOLD]}
            for component, props in answer.json.get("sideUpdate", {}).items():
                self.page.show({f"{component}.{name}": value for name, value in props.items()})
            self.page.show(answer.json.get("progress", {}))
            if "response" not in answer.json:
                return
        elif answer.status_code != 204:
            self.failed = answer.text
        self.ended = True
        self.page.show(self.running.get("runningOff", {}))
        self.page.show(self.progress_default)
        if answer.status_code == 200 and answer.json is not None:
            for component, props in answer.json["response"].items():
                self.page.show({f"{component}.{name}": value for name, value in props.items()})


def outputs_of(output: str, match: Any) -> Any:
    """Return outputs as the renderer sends them: one, or a list."""
    many = output.startswith("..")
    found = []
    for part in output[2:-2].split("...") if many else [output]:
        component, _, name = part.rpartition(".")
        found.append({"id": of_id(component, match), "property": name})
    return found if many else found[0]


def value_of(item: dict[str, Any], match: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    component = of_id(item["id"], match)
    name = component if isinstance(component, str) else component["type"]
    return {"id": component, "property": item["property"], "value": inputs.get(name.replace("-", "_"))}


def of_id(text: str, match: Any) -> Any:
    if not text.startswith("{"):
        return text
    return {key: match if value == ["MATCH"] else value for key, value in json.loads(text).items()}


def in_text(component: Any) -> str:
    return component if isinstance(component, str) else json.dumps(component, sort_keys=True, separators=(",", ":"))
