"""Tests that docs/screens.md shows every page of the app."""

import dash

from app import web  # noqa: F401  # pages register with it
from docs import screenshots
from jobqueue.accounts import forms
from jobqueue.dash.pages.query import TABS

AT_MOST = 3_000_000  # bytes of all pictures


def test_every_page_has_a_picture_light_and_dark_wide_and_on_a_phone() -> None:
    pages = {page["name"] for page in dash.page_registry.values() if page["module"].startswith(("app.", "jobqueue."))}
    plain = {name for name, part in vars(forms).items() if getattr(part, "__module__", "") == forms.__name__}
    named = {name.lower().replace(" ", "-") for name in {*pages, *TABS, *plain} if not name.startswith("_")}
    assert {"analysis", "job", "not-found", "login", "workers"} <= named
    assert named - screenshots.SCENES.keys() == set()
    there = {path.name: path.stat().st_size for path in screenshots.PICTURES.iterdir()}
    assert there.keys() == {name for scene in screenshots.SCENES for name in screenshots.pictures(scene)}
    assert sum(there.values()) < AT_MOST


def test_the_docs_page_shows_every_picture() -> None:
    shown = screenshots.PAGE.read_text(encoding="utf-8")
    assert shown == screenshots.page()
    assert [
        name for scene in screenshots.SCENES for name in screenshots.pictures(scene) if f"(screens/{name})" not in shown
    ] == []
