"""Dash's globals as they were: the tests of this folder make apps, and others use the template's."""

from collections.abc import Iterator

import dash
import pytest
from dash._callback import GLOBAL_CALLBACK_LIST, GLOBAL_CALLBACK_MAP


@pytest.fixture(autouse=True)
def own_globals(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Hide the callbacks and pages of other apps."""
    for module, name in (dash._get_paths, "CONFIG"), (dash._pages, "CONFIG"), (dash._get_app, "APP"):
        monkeypatch.setattr(module, name, getattr(module, name))
    callbacks, known, pages = list(GLOBAL_CALLBACK_LIST), dict(GLOBAL_CALLBACK_MAP), dict(dash.page_registry)
    for global_ in GLOBAL_CALLBACK_LIST, GLOBAL_CALLBACK_MAP, dash.page_registry:
        global_.clear()
    yield
    GLOBAL_CALLBACK_LIST[:] = callbacks
    for global_, before in ((GLOBAL_CALLBACK_MAP, known), (dash.page_registry, pages)):
        global_.clear()
        global_.update(before)
