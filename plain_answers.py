"""Answers are texts. cookiecutter renders those of its command line and configuration as templates, and fails on `50% off {{x}}`."""

import json
from pathlib import Path

from jinja2.ext import Extension

KIT = Path(__file__).parent
FOLDER = "{{cookiecutter.app_name}}"


class PlainAnswers(Extension):
    """Keeps Jinja to the kit's own templates: files, their paths, the hooks and the default answers."""

    def preprocess(self, source: str, name: str | None, filename: str | None = None) -> str:
        """Return an answer as a constant, and anything else unchanged. Of all sources, files alone have a name."""
        own = name is not None or source.startswith(FOLDER) or source in hooks_and_defaults()
        return source if own else f"{{{{ {source!r} }}}}"


def hooks_and_defaults() -> list[object]:
    """Read the files each time: `cruft update` imports this module once, and renders two commits of the kit in one folder."""
    defaults = json.loads(KIT.joinpath("cookiecutter.json").read_text(encoding="utf-8"))
    return [*defaults.values(), *(path.read_text(encoding="utf-8") for path in KIT.glob("hooks/*.py"))]
