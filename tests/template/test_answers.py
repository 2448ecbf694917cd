"""Tests that the app shows title, description and author unchanged, whatever printable text they are."""

import json
import subprocess
import sys
import tomllib
from html.parser import HTMLParser
from pathlib import Path

import pytest
from cookiecutter.prompt import render_variable
from cookiecutter.utils import create_env_with_context
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from tests import baking

TEXTS = {
    "all at once": """L'Éq "Q" {{7*7}} <b>""",
    "backslashes": r"C:\new\table \u0041 \\",
    "quotes": "'''three''' \"\"\"three\"\"\"",
    "Jinja": "{{ 7 * 7 }} {# not a comment #} {{ 'x' }}",
    "Jinja that fails": "50% off {{x}} {{ cookiecutter.nope }} {{ 1/0 }} {{ open {% ended {# {% endraw %}",
    "Markdown": "*a* _b_ **c** `d` [e](f) ![g](h) ~i~ # j ##",
    "HTML": "<script>alert(1)</script> &amp; &lt;",
    "a list": "- not a list",
    "a numbered list": "12. not a list",
    "a quotation": "> not a quotation",
    "a rule": "---",
    "scripts": "日本語 Ελληνικά עברית 👩‍💻 🎉",
    "long": "0123456789 " * 500 + "end",
    "shell": "$(rm -rf /) `id` ${HOME} %PATH% \\n",
}

# Prints the page that a browser gets, and Dash's layout, of the app in each of these folders. What they share is imported once.
VISIT = """
import json, os, sys
import dash_mantine_components, jobqueue.dash, jobqueue.huey

for folder in sys.argv[1:]:
    if os.fork() == 0:
        os.chdir(folder)
        from app.web import server
        browser = server.test_client()
        print(json.dumps([browser.get("/", follow_redirects=True).text, browser.get("/_dash-layout").text]), flush=True)
        os._exit(0)
    if os.wait()[1]:
        sys.exit(f"{folder} has no page")
"""


@pytest.fixture(params=TEXTS)
def text(request: pytest.FixtureRequest) -> str:
    return TEXTS[request.param]


@pytest.fixture
def app(text: str, tmp_path: Path) -> Path:
    return baking.bake(tmp_path / "out", app_title=text, description=text, author=text, app_name="odd", example="blank")


def test_text_is_unchanged_in_pyproject(app: Path, text: str) -> None:
    pyproject = tomllib.loads(app.joinpath("pyproject.toml").read_text(encoding="utf-8"))
    assert pyproject["tool"]["app"]["title"] == text
    assert pyproject["project"]["description"] == text
    assert pyproject["project"]["authors"] == [{"name": text}]
    assert json.loads(app.joinpath("app.json").read_text(encoding="utf-8"))["description"] == text


def test_text_is_unchanged_in_the_readme(app: Path, text: str) -> None:
    shown = shown_texts(app.joinpath("README.md").read_text(encoding="utf-8"))
    assert shown[:3] == [text, text, f"By {text}."]


def test_every_text_is_unchanged_on_the_page(tmp_path: Path) -> None:
    apps = [
        baking.bake(
            tmp_path / str(number), app_title=text, description=text, author=text, app_name="odd", example="blank"
        )
        for number, text in enumerate(TEXTS.values())
    ]
    shown = subprocess.run([sys.executable, "-c", VISIT, *apps], check=True, capture_output=True, text=True).stdout
    for text, line in zip(TEXTS.values(), shown.splitlines(), strict=True):
        page, layout = json.loads(line)
        assert text in Title(page).text
        assert text in strings_in(json.loads(layout))


@given(st.text() | st.text("{}%#'\"\\ \n.ax"))
def test_any_answer_is_kept_unchanged(text: str) -> None:
    extensions = json.loads(baking.KIT.joinpath("cookiecutter.json").read_text())["_extensions"]
    assert render_variable(create_env_with_context({"cookiecutter": {"_extensions": extensions}}), text, {}) == text


@pytest.mark.long
def test_an_app_of_odd_texts_installs(tmp_path: Path) -> None:
    odd = TEXTS["all at once"]
    app = baking.bake(tmp_path / "out", app_title=odd, description=odd, author=odd, app_name="odd", example="blank")
    baking.install(app)
    code = "from importlib.metadata import metadata; about = metadata('odd'); print(about['Summary'], about['Author'])"
    shown = subprocess.run([app / ".venv/bin/python", "-c", code], check=True, capture_output=True, text=True).stdout
    assert shown == f"{odd} {odd}\n"


def test_the_name_is_made_from_the_title(tmp_path: Path) -> None:
    assert (
        baking.bake(tmp_path / "out", app_title="L'Équipe: Risk & Return", example="blank").name
        == "l-equipe-risk-return"
    )


@pytest.mark.parametrize(
    ("title", "name"),
    [("50% off {{x}}", "my-50-off-x"), ("2" * 50, "my-" + "2" * 37), ("$%&", "my-app"), ("👩‍💻", "my-app")],
    ids=["digits", "many digits", "signs", "emoji"],
)
def test_title_that_starts_without_a_letter_gives_a_name_too(tmp_path: Path, title: str, name: str) -> None:
    assert baking.bake(tmp_path / "out", app_title=title, example="blank").name == name


def test_answer_typed_at_a_prompt_is_unchanged(tmp_path: Path) -> None:
    """Test an answer that is invalid as a Jinja template."""
    typed = '{{ open {% ended }} {{ cookiecutter.author }} "Q" <b>'
    answers = [typed, "typed", typed, typed, "2", "2"]
    config = str(baking.configuration(tmp_path))
    command = [sys.executable, "-m", "cookiecutter", "--config-file", config, str(baking.KIT)]
    subprocess.run(command, cwd=tmp_path, input="\n".join(answers) + "\n", text=True, check=True, capture_output=True)
    pyproject = tomllib.loads(tmp_path.joinpath("typed", "pyproject.toml").read_text(encoding="utf-8"))
    assert pyproject["tool"]["app"]["title"] == typed
    assert pyproject["project"]["authors"] == [{"name": typed}]
    assert "skfolio" not in str(pyproject["project"]["dependencies"])
    assert tmp_path.joinpath("typed", "compose.yaml").exists()


def shown_texts(markdown: str) -> list[str]:
    """Return the text of each block as readers see it."""
    blocks = [block for block in MarkdownIt("commonmark").parse(markdown) if block.type == "inline"]
    assert all(not child.type.startswith("html") for block in blocks[:3] for child in block.children or [])
    return ["".join(child.content for child in block.children or []) for block in blocks]


def strings_in(tree: object) -> set[str]:
    """Return every string in decoded JSON."""
    if isinstance(tree, str):
        return {tree}
    branches = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
    return {text for branch in branches for text in strings_in(branch)}


class Title(HTMLParser):
    """A page's title, as a browser's tab shows it."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text = ""
        self._inside = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self._inside = tag == "title"

    def handle_data(self, data: str) -> None:
        self.text += data if self._inside else ""

    def handle_endtag(self, tag: str) -> None:
        self._inside = False
