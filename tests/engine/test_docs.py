"""What the docs say of the engine is what the engine says of itself."""

import re
from pathlib import Path

import pytest

from jobqueue.ledger.states import TRANSITIONS

KIT = Path(__file__).parents[2]
STATES = KIT / "docs" / "states.md"
PROMISES = {
    "durability.md": 10,
    "dash.md": 10,
    "jobs.md": 1,
    "submitting.md": 3,
    "security.md": 30,
}  # pages, and how many tests each names more than


def test_the_docs_table_of_states_is_the_engines() -> None:
    rows = [line.split("|")[1:4] for line in STATES.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    documented = {(state.strip(), event.strip()): after.strip() for state, event, after in rows[2:]}
    assert documented == {(state, event): ", ".join(after) for (state, event), after in TRANSITIONS.items()}


@pytest.mark.parametrize("page", PROMISES)
def test_the_tests_that_show_a_promise_are_there(page: str) -> None:
    text = KIT.joinpath("docs", page).read_text(encoding="utf-8")
    code = "".join(path.read_text(encoding="utf-8") for path in KIT.joinpath("tests").rglob("test_*.py"))
    named = set(re.findall(r"`(test_\w+)`", text))
    assert len(named) > PROMISES[page]
    assert [name for name in sorted(named) if f"def {name}(" not in code] == []
    assert [path for path in re.findall(r"`(tests/[\w/]+\.py)`", text) if not KIT.joinpath(path).exists()] == []
