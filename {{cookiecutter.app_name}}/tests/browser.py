"""A browser for tests: it logs in, sends forms, and calls callbacks as pages do."""

import json
import re
import uuid
from typing import Any

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app.web import app, server

ROOT = app.config.routes_pathname_prefix.rstrip("/")  # where the app begins, if it has a URL prefix
HERE = {"Origin": "http://localhost"}  # a browser adds it to requests from a page of this app
PASSWORD = "mountain river nine"  # of every user in the tests

# The two callbacks of all panels, by their first outputs.
LOOK = '{"job":["ALL"],"panel":["ALL"],"part":"status"}.children'
ACT = '{"job":["ALL"],"panel":["ALL"],"part":"seen"}.data@'
# The callback that starts a job from the panel of a page.
START = '{{"job":["ALL"],"part":"trouble","start":"app/pages/{}"}}.children@'


class Browser:
    def __init__(self, name: str | None = None, password: str = PASSWORD) -> None:
        self.client: FlaskClient = server.test_client()
        self.get("/login")
        if name is not None:
            assert self.send("/login", name=name, password=password).status_code == 302

    def get(self, address: str) -> TestResponse:
        """Ask for an address of the app, such as /hello?job=7, which is written without the app's URL prefix."""
        return self.client.get(ROOT + address)

    def send(self, form: str, **fields: str) -> TestResponse:
        page = self.get("/login" if form == "/login" else "/account").text
        token = re.search(r'name="token" value="([^"]+)"', page)
        return self.client.post(ROOT + form, data={"token": token[1] if token else ""} | fields, headers=HERE)

    def call(self, output: str, *values: Any, at: Any = ()) -> TestResponse:
        """Call a callback. See `asked`."""
        return self.client.post(f"{ROOT}/_dash-update-component", json=asked(output, *values, at=at), headers=HERE)

    def start(self, page: str, *values: Any) -> TestResponse:
        """Press the button of a page that starts a job. The values are of its Inputs and States."""
        return self.call(START.format(page), *values, at=[{"job": ""}])

    def look(self, panel: str, *jobs: Any, **seen: Any) -> TestResponse:
        """Refresh the panels of these jobs. `seen` is what an earlier refresh stored on the page."""
        known: list[dict[str, Any]] = [{"next": str(uuid.uuid4()), "given": {}, **seen} for _ in jobs]
        return self.call(LOOK, [1], None, known, [None], at=[{"panel": panel, "job": job} for job in jobs])

    def press(self, act: str, panel: str, job: Any, new_id: Any = None) -> TestResponse:
        """Press a button of a job's panel. `new_id` is the id of the job that "run again" makes."""
        known: dict[str, Any] = {"next": new_id or str(uuid.uuid4()), "given": {}}
        return self.call(ACT, [1], None, [known], [0], at=[{"panel": panel, "job": job, "act": act}])


def asked(output: str, *values: Any, at: Any = ()) -> dict[str, Any]:
    """Return the request by which a page calls a callback.

    :param output: the callback's outputs, or the beginning of the first of several.
    :param values: of its inputs, then of its states. The value of a pattern is a list, with one for each component.
    :param at: the ids of the components on the page that patterns match.
    """
    output = next(name for name in app.callback_map if name == output or name.startswith(f"..{output}"))
    declared = app.callback_map[output]
    names = [part.rpartition(".")[::2] for part in output.strip(".").split("...")]
    outputs = [] if declared["no_output"] else [_part({"id": id_, "property": name}, at) for id_, name in names]
    given = iter(values)
    inputs = [_part(part, at, next(given)) for part in declared["inputs"]]
    first = inputs[0] if isinstance(inputs[0], dict) else inputs[0][0]
    place = (
        first["id"] if isinstance(first["id"], str) else json.dumps(first["id"], sort_keys=True, separators=(",", ":"))
    )
    return {
        "output": output,
        "outputs": outputs if output.startswith("..") else outputs[0] if outputs else None,
        "inputs": inputs,
        "state": [_part(part, at, next(given)) for part in declared["state"]],
        "changedPropIds": [f"{place}.{first['property']}"],
    }


def _part(declared: dict[str, str], at: Any, *value: Any) -> Any:
    """Return one input, state or output; for a pattern, a list with one for each component."""
    name = declared["property"]
    if not declared["id"].startswith("{"):
        return {"id": declared["id"], "property": name} | ({"value": value[0]} if value else {})
    pattern = json.loads(declared["id"])
    if ["MATCH"] in pattern.values():  # a part of one panel, or of a job's page
        one = pattern | {key: next(iter(at), {}).get(key) for key in pattern if pattern[key] == ["MATCH"]}
        return {"id": one, "property": name} | ({"value": value[0]} if value else {})
    pages = "panels" in pattern  # a part of the page, not of a panel
    ids = [
        pattern | {key: "page" if pages else one.get(key) for key in pattern if pattern[key] == ["ALL"]}
        for one in ([{}] if pages else at)
    ]
    told = ids if name == "id" else value[0] if value else ids
    return [
        {"id": id_, "property": name} | ({"value": one} if value else {}) for id_, one in zip(ids, told, strict=False)
    ]
