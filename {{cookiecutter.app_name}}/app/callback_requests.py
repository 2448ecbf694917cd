"""A callback that is asked for as no page asks for it is refused. Dash takes what it is sent as it comes, and fails at it."""

import json
import logging
from typing import Any

from dash import Dash
from dash.exceptions import PreventUpdate
from flask import Flask, abort, request
from jobqueue import DatabaseUnavailable
from werkzeug.exceptions import HTTPException

ENDPOINT = "/_dash-update-component"  # as Flask calls it

logger = logging.getLogger("app.callback_requests")


def refuse_others(server: Flask, app: Dash) -> None:
    """What fails around a callback, not in it, is the request's fault, unless the request is as a page's: then it is ours."""
    answer = server.view_functions[ENDPOINT]

    def answer_pages() -> Any:
        try:
            return answer()
        except (HTTPException, PreventUpdate, DatabaseUnavailable):
            raise
        except Exception as error:
            if as_a_page_asks(request.get_json(), app.callback_map):
                raise
            logger.warning("A callback was asked for as no page does: %r", error)
            abort(400, "No page of this app asks for that.")

    server.view_functions[ENDPOINT] = answer_pages


def as_a_page_asks(body: Any, callbacks: dict[str, Any]) -> bool:
    """Whether the request names what the callback declares, and nothing else."""
    match body:
        case {"output": str(output), "inputs": list(inputs)} if "callback" in callbacks.get(output, {}):
            declared = callbacks[output]
        case _:
            return False
    try:
        outputs = body.get("outputs") or []
        names = [] if declared["no_output"] else [part.rpartition(".")[::2] for part in output.strip(".").split("...")]
        expected = [*_names(declared["inputs"]), *_names(declared["state"]), *names]
        given = [
            *inputs,
            *body.get("state", []),
            *(outputs if output.startswith("..") else [outputs] if outputs else []),
        ]
        return (
            len(given) == len(expected)
            and isinstance(body.get("state", []), list)
            and all(_is(part, *name) for part, name in zip(given, expected, strict=True))
            and all(isinstance(changed, str) for changed in body.get("changedPropIds", []))
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return False


def _names(parts: list[dict[str, str]]) -> list[tuple[str, str]]:
    return [(part["id"], part["property"]) for part in parts]


def _is(part: Any, component: str, name: str) -> bool:
    """Whether it is the component's property; of a pattern, which is written in JSON, a list of those that it matches."""
    if isinstance(part, list):
        return component.startswith("{") and all(_is(one, component, name) for one in part)
    if part["property"].partition("@")[0] != name.partition("@")[0]:  # behind the @ one output is told from another
        return False
    if isinstance(part["id"], str):
        return bool(part["id"] == component)
    pattern = json.loads(component)
    return part["id"].keys() == pattern.keys() and all(
        isinstance(wanted, list) or part["id"][key] == wanted for key, wanted in pattern.items()
    )
