"""Tests that follow docs/start.md in a fresh bake: they paste its files, run its commands and use its page."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from playwright.sync_api import Page, expect

from tests.baking import with_programs
from tests.end_to_end.running import RunningApp

START = Path(__file__).parents[2] / "docs" / "start.md"


def blocks() -> Iterator[tuple[str, str]]:
    """Yield the fenced blocks: the info string and the text of each."""
    for token in MarkdownIt().parse(START.read_text(encoding="utf-8")):
        if token.type == "fence":
            yield token.info, token.content


def paste_files(folder: Path) -> list[str]:
    pasted = []
    for info, text in blocks():
        if "file=" in info:
            name = info.partition("file=")[2]
            Path(folder, name).write_text(text, encoding="utf-8")
            pasted.append(name)
    return pasted


def run(folder: Path, command: list[str]) -> str:
    """Run a command in an app, in the kit's environment."""
    if not Path(folder, ".venv").exists():
        Path(folder, ".venv").symlink_to(sys.prefix)
    # A notebook's kernel starts in notebooks/, and imports the app as if it were installed.
    variables = {"PYTHONPATH": os.pathsep.join([os.environ["PYTHONPATH"], str(folder)])}
    done = subprocess.run(
        command,
        cwd=folder,
        env=with_programs() | variables,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.long
def test_commands_of_the_start_page_work(app: RunningApp) -> None:
    assert paste_files(app.folder) == [
        *("app/jobs/primes.py", "app/pages/primes.py"),
        *("app/jobs/summary.py", "app/pages/summary.py"),
    ]
    ran, output = 0, ""
    for info, text in blocks():
        if info == "sh run":
            output = run(app.folder, ["bash", "-ec", text])
        elif info == "python run":
            output = run(app.folder, ["python", "-c", text])
            assert output.splitlines()[-1] == "queued"
        elif info == "text output":
            assert output.splitlines()[-1] == text.strip()
        ran += info.endswith(" run")
    assert ran == 3
    # The last command has removed the example. The rest of the app still works.
    assert not Path(app.folder, "app", "portfolio").exists()
    run(app.folder, ["python", "-m", "pytest", "-q"])


def test_start_page_bakes_an_app_with_the_readmes_commands() -> None:
    readme = START.parents[1].joinpath("README.md").read_text()
    assert f"```sh\n{next(blocks())[1]}```" in readme


def test_pages_from_the_start_page_count_primes_and_summarise_a_file(
    app: RunningApp, watched: Page, tmp_path: Path
) -> None:
    paste_files(app.folder)
    app.start()
    watched.goto(f"{app.url}/primes")
    watched.get_by_label("Count the primes below").fill("100000")
    watched.get_by_role("button", name="Count").click()
    expect(watched.get_by_text("9,592 primes")).to_be_visible(timeout=10_000)
    assert "?job=" in watched.url
    watched.reload()
    expect(watched.get_by_text("9,592 primes")).to_be_visible()

    watched.goto(f"{app.url}/summary")
    watched.get_by_role("button", name="Summarise").click()
    expect(watched.get_by_text("Choose a file first. It may take at most 200 MB.")).to_be_visible()
    for content, words in UPLOADS.items():
        watched.goto(f"{app.url}/summary")  # a second click within a second of a start counts as the same
        with watched.expect_file_chooser() as chooser:
            watched.get_by_role("button", name="A CSV file with a header").press("Enter")
        chooser.value.set_files({"name": "data.csv", "mimeType": "text/csv", "buffer": content})
        if content:
            expect(watched.get_by_text("data.csv is uploaded")).to_be_visible()
            watched.get_by_role("button", name="Summarise").click()
        expect(watched.get_by_text(words).first).to_be_visible(timeout=10_000)
    expect(watched.locator(".js-plotly-plot")).to_be_visible()


UPLOADS = {  # and what the page says
    b"": "data.csv is empty. Choose a file with content.",
    "été,prix\n1,2\n".encode("latin-1"): "data.csv is not a CSV file in UTF-8 with a table. 'utf-8' codec",
    b"\n": "data.csv is not a CSV file in UTF-8 with a table. No columns to parse from file",
    b"ticker,price\nAAPL,1.5\nMSFT,2.5\n": "price",
}


@pytest.mark.parametrize("app", ["blank"], indirect=True)
def test_start_page_works_in_the_blank_example(app: RunningApp) -> None:
    paste_files(app.folder)
    assert (
        run(app.folder, [".venv/bin/python", "-m", "app", "jobs", "run", "count_primes", "below=100"]).splitlines()[-1]
        == "25"
    )
