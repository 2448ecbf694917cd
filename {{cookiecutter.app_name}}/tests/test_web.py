"""The web process: every page can be shown."""

import html
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import dash
import pytest
from browser import Browser
from jobqueue import DurableHuey

from app import shell, web
from app.settings import ROOT, project


def texts(part: Any) -> Iterator[str]:
    """Yield all texts of a layout."""
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
    page = shell.pages()[0]
    assert "Job no-such-job was not found" in str(page["layout"](job="no-such-job"))
    for address in f"{page['path']}?job=no-such-job", "/jobs/no-such-job":
        assert Browser().get(address).status_code == 404


def test_an_address_without_a_path_leads_to_the_first_page() -> None:
    first = dash.get_relative_path(shell.pages()[0]["path"])
    for response in Browser().get("/?job=7"), web.server.test_client().get("/?job=7"):
        assert (response.status_code, response.location) == (302, f"{first}?job=7")


def test_every_link_of_a_page_stays_under_the_apps_prefix() -> None:
    links = re.findall(r"href='([^']+)'", str(shell.layout()))
    assert len(links) == 2 * len(shell.pages()) + 1  # in the header, in the menu of a narrow screen, and "My jobs"
    assert all(link.startswith(dash.get_relative_path("/")) for link in links)


def test_health_is_answered_without_the_database(queue: DurableHuey, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "_storage", None, raising=False)
    monkeypatch.setattr(queue, "storage", None)
    for address in "/health", "/healthz":
        assert Browser().get(address).status_code == web.server.test_client().get(address).status_code == 200


def test_a_host_that_probes_is_told_whether_the_app_can_use_its_database(no_database: None) -> None:
    answer = Browser().get("/readyz")
    assert (answer.status_code, answer.json["checks"]["database"]) == (503, "unreachable")


def test_title_description_and_author_are_shown_as_text() -> None:
    browser = Browser()
    shown = list(texts(browser.get("/_dash-layout").json))
    assert project.title in shown and f"{project.description} · {project.author}" in shown
    assert f"<title>{html.escape(project.title)}</title>" in browser.get(shell.pages()[0]["path"]).text


def test_pages_say_their_language_and_load_nothing_from_other_hosts() -> None:
    index = Browser().get(shell.pages()[0]["path"]).text
    assert '<html lang="en" ' in index
    sources = [part.split('"')[1] for part in index.split("src=")[1:]]
    assert sources and all(source.startswith(dash.get_relative_path("/")) for source in sources)


def test_web_process_imports_nothing_that_only_workers_need() -> None:
    code = """
import sys
import dash
from app import shell, web
from app.jobs import huey
huey.immediate = True
for page in dash.page_registry.values():
    page["layout"](job="none")
print(sorted({"dask", "distributed", "skfolio", "sklearn", "pandas", "pyarrow"} & sys.modules.keys()))
"""
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"
