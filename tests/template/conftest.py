"""Fixtures that run each test of a baked app on every example."""

from pathlib import Path

import pytest

from tests import baking
from tests.baking import Bake


@pytest.fixture(params=baking.EXAMPLES, ids="example:{}".format)
def example(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def app(example: str, bake: Bake) -> Path:
    return bake(example=example)
