"""The docs name no command that a user with Python and make alone does not have."""

import re
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from tests import baking

DOCS = [
    baking.KIT / "README.md",
    *sorted(baking.KIT.glob("docs/*.md")),
    baking.KIT / "engine" / "README.md",
    baking.TEMPLATE / "README.md",
]
# The hosts' own clients come with an account there.
COMMANDS = {"cd", "dokku", "git", "heroku", "make", "pg_dump", "pg_restore", "python3", "rm", "."}
ACTIVATES = ". .venv/bin/activate"  # from there on a page may use what the environment holds


@pytest.mark.parametrize("document", DOCS, ids=lambda path: str(path.relative_to(baking.KIT)))
def test_the_docs_use_commands_that_a_user_has(document: Path) -> None:
    text = document.read_text().partition(ACTIVATES)[0]
    fences = [token for token in MarkdownIt().parse(text) if token.type == "fence"]
    blocks = [token.content for token in fences if token.info in ("", "sh", "sh run")]
    lines = [line for block in blocks for line in block.splitlines() if line and not line.startswith("#")]
    commands = {word for line in lines for word in re.findall(r"(?:^|&& |\$\()([^\s()]+)", line)}
    assert {word for word in commands if not word.startswith(".venv/bin/")} <= COMMANDS
    assert re.findall(r"`(?:python|pip|uvx?) [^`\n]*`", text) == []
