"""A test with axe-core on every page of the example: light, dark, wide, on a phone, with and without the database."""

import shutil
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser

from docs import screenshots
from tests.baking import Bake
from tests.end_to_end.running import RunningApp

pytestmark = pytest.mark.long

EVERYTHING = {"resultTypes": ["violations"]}
COLOURS = EVERYTHING | {"runOnly": ["color-contrast", "link-in-text-block"]}  # all that differs between light and dark


def test_axe_finds_no_fault_on_any_page(browser: Browser, bake: Bake, tmp_path: Path) -> None:
    app = RunningApp(Path(shutil.copytree(bake(), tmp_path / "app")))
    faults = {}
    try:
        with screenshots.prices_that_fail() as prices_url:
            filled = screenshots.fill(app, prices_url, analyses=2)
        for name, page in screenshots.shown(browser, app, filled):
            screenshots.rest(page)
            found = Axe().run(page, options=COLOURS if "dark" in name else EVERYTHING)
            if found.violations_count:
                faults[name] = found.generate_report()
    finally:
        app.stop()
    assert not faults, "\n".join(f"{name}: {report}" for name, report in faults.items())
