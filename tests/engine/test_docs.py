"""The docs agree with the engine: the table of states, and the names of tests and files."""

import re
from pathlib import Path

import pytest

from jobqueue.ledger.states import TRANSITIONS

KIT = Path(__file__).parents[2]
DOCS = KIT / "docs"
PAGES = sorted(path.name for path in DOCS.glob("*.md"))
TOLD = (
    "app/jobs/sales.py",
    "tests/jobs/test_sales.py",
    "app/pages/sales.py",
    "app/jobs/notify.py",
)  # which docs/notebooks.md and docs/notify.md tell how to make
ROOTS = (KIT, KIT / "engine" / "src" / "jobqueue", KIT / "{{cookiecutter.app_name}}")  # of the paths in the docs

# The pages that name tests, and how many tests each names at least.
PROMISES = {
    "durability.md": 11,
    "dash.md": 11,
    "files.md": 10,
    "jobs.md": 6,
    "notify.md": 3,
    "submitting.md": 4,
    "updates.md": 8,
    "security.md": 31,
}


def test_each_release_tells_owners_of_apps_what_to_do() -> None:
    releases = re.split(r"^## ", KIT.joinpath("engine", "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert len(releases) > 2
    assert [text.splitlines()[0] for text in releases[1:] if "\n### For owners of an app\n" not in text] == []


def test_states_table_in_docs_is_the_engines() -> None:
    lines = (DOCS / "states.md").read_text(encoding="utf-8").splitlines()
    rows = [line.split("|")[1:4] for line in lines if line.startswith("|")]
    documented = {(state.strip(), event.strip()): after.strip() for state, event, after in rows[2:]}
    assert documented == {(state, event): ", ".join(after) for (state, event), after in TRANSITIONS.items()}


@pytest.mark.parametrize("name", PROMISES)
def test_tests_named_in_the_docs_exist(name: str) -> None:
    text = DOCS.joinpath(name).read_text(encoding="utf-8")
    code = "".join(path.read_text(encoding="utf-8") for path in KIT.joinpath("tests").rglob("test_*.py"))
    named = set(re.findall(r"`(test_\w+)`", text))
    assert len(named) >= PROMISES[name]
    assert [test for test in sorted(named) if f"def {test}(" not in code] == []


@pytest.mark.parametrize("name", PAGES)
def test_files_named_in_the_docs_exist(name: str) -> None:
    text = DOCS.joinpath(name).read_text(encoding="utf-8")
    named = re.findall(r"`((?:\w+/)+\w+\.py)`", text)
    assert [path for path in named if path not in TOLD and not any((root / path).exists() for root in ROOTS)] == []
