"""Every page can be shown, and what cannot be is said in words."""

import html
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import dash
import pytest
from dash.exceptions import DashException
from jobqueue import DatabaseUnavailable, DurableHuey

from app import web
from app.settings import ROOT, project


def texts(part: Any) -> Iterator[str]:
    """All that stands in a layout."""
    if isinstance(part, str):
        yield part
    for child in part.values() if isinstance(part, dict) else part if isinstance(part, list) else []:
        yield from texts(child)


@pytest.mark.parametrize("module", [page["module"] for page in dash.page_registry.values()])
def test_a_page_can_be_shown(module: str) -> None:
    assert dash.page_registry[module]["layout"]() is not None


@pytest.mark.parametrize("module", [page["module"] for page in dash.page_registry.values()])
def test_an_address_with_anything_in_it_can_be_shown(module: str) -> None:
    page = dash.page_registry[module]["layout"]
    assert page(job="no-such-job", beside=["a", "b"], whatever="x") is not None


def test_an_address_of_an_unknown_job_says_so_and_shows_the_page_without_it() -> None:
    page = web.pages()[0]
    assert "There is no job no-such-job" in str(page["layout"](job="no-such-job"))
    assert web.server.test_client().get(f"{page['path']}?job=no-such-job").status_code == 404


def test_the_first_page_is_where_the_address_without_a_path_leads() -> None:
    response = web.server.test_client().get("/?job=7")
    assert response.status_code == 302
    assert response.location == web.pages()[0]["path"] + "?job=7"


def test_health_is_answered_without_the_database(queue: DurableHuey, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "_storage", None, raising=False)
    monkeypatch.setattr(queue, "storage", None)
    assert web.server.test_client().get("/health").status_code == 200


def test_title_description_and_author_are_shown_as_text() -> None:
    browser = web.server.test_client()
    shown = list(texts(browser.get("/_dash-layout").json))
    assert project.title in shown and f"{project.description} · {project.author}" in shown
    assert f"<title>{html.escape(project.title)}</title>" in browser.get(web.pages()[0]["path"]).text


def test_the_browser_is_sent_to_no_other_host() -> None:
    index = web.server.test_client().get(web.pages()[0]["path"]).text
    sources = [part.split('"')[1] for part in index.split("src=")[1:]]
    assert sources and all(source.startswith("/") for source in sources)


def test_a_page_without_its_database_says_so() -> None:
    def layout() -> None:
        raise DatabaseUnavailable("no route")

    assert "The database does not answer" in str(web.in_its_place(layout)())  # type: ignore[arg-type]


def test_a_page_with_a_mistake_says_so_unless_one_is_debugging(monkeypatch: pytest.MonkeyPatch) -> None:
    def layout() -> None:
        raise DashException("a mistake")

    assert "Something went wrong" in str(web.in_its_place(layout)())  # type: ignore[arg-type]
    monkeypatch.setattr(web, "debugging", True)
    with pytest.raises(DashException):
        web.in_its_place(layout)()  # type: ignore[arg-type]


def test_the_web_process_imports_nothing_that_only_a_worker_needs() -> None:
    code = """
import sys
import dash
from app import web
from app.jobs import huey
huey.immediate = True
for page in dash.page_registry.values():
    page["layout"](job="none")
print(sorted({"skfolio", "sklearn", "pandas", "pyarrow"} & sys.modules.keys()))
"""
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"


def test_a_page_may_be_a_component() -> None:
    component = dash.html.Div("as it is")
    assert web.in_its_place(component)(job="any") is component
