"""Tests that the docs use only commands that a user with Python and make has."""

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
# Users with an account at a host have its client.
COMMANDS = {"cd", "docker", "dokku", "git", "heroku", "kubectl", "make", "pg_dump", "pg_restore", "python3", "rm", "."}
ACTIVATES = ". .venv/bin/activate"  # after this line, a page may use the environment's programs


@pytest.mark.parametrize("document", DOCS, ids=lambda path: str(path.relative_to(baking.KIT)))
def test_docs_use_only_commands_that_a_user_has(document: Path) -> None:
    text = document.read_text().partition(ACTIVATES)[0]
    fences = [token for token in MarkdownIt().parse(text) if token.type == "fence"]
    blocks = [token.content for token in fences if token.info in ("", "sh", "sh run")]
    lines = [line for block in blocks for line in block.splitlines() if line and not line.startswith("#")]
    commands = {word for line in lines for word in re.findall(r"(?:^|&& |\$\()([^\s()]+)", line)}
    assert {word for word in commands if not word.startswith(".venv/bin/")} <= COMMANDS
    assert re.findall(r"`(?:python|pip|uvx?) [^`\n]*`", text) == []
