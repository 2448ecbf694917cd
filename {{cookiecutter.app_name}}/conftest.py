"""A temporary ledger for tests and notebooks, which leaves the jobs in var/ alone."""

import os
import tempfile
from pathlib import Path

pytest_plugins = ["jobqueue.promote.testing"]  # how notebooks are compared

# Before anything of the app is imported; what a notebook starts inherits it.
_folder = tempfile.TemporaryDirectory()
os.environ["DATABASE_URL"] = f"sqlite:///{Path(_folder.name, 'jobs.sqlite')}"


def pytest_unconfigure() -> None:
    _folder.cleanup()
