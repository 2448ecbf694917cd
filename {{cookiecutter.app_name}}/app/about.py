"""What the app is called, as `pyproject.toml` has it: written down once, there."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class About:
    name: str  # of the distribution, the command and the queue
    title: str
    description: str
    author: str


def read(path: Path = ROOT / "pyproject.toml") -> About:
    """Raises FileNotFoundError, tomllib.TOMLDecodeError."""
    pyproject = tomllib.loads(path.read_text(encoding="utf-8"))
    project = pyproject["project"]
    return About(
        name=project["name"],
        title=pyproject.get("tool", {}).get("app", {}).get("title", project["name"]),
        description=project.get("description", ""),
        author=", ".join(author.get("name", "") for author in project.get("authors", [])),
    )


about = read()
