"""What the docs say of the engine is what the engine says of itself."""

from pathlib import Path

from jobqueue.ledger import TRANSITIONS

STATES = Path(__file__).parents[2] / "docs" / "states.md"


def test_the_docs_table_of_states_is_the_engines() -> None:
    rows = [line.split("|")[1:4] for line in STATES.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    documented = {(state.strip(), event.strip()): after.strip() for state, event, after in rows[2:]}
    assert documented == {(state, event): ", ".join(after) for (state, event), after in TRANSITIONS.items()}
