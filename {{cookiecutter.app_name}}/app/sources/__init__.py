"""Where prices come from: a small protocol, and what answers to it. Only workers ask; pages read what was saved.

The example's own environment variable is PRICES_URL: an address with `{symbol}` in it, which gives prices as CSV. Without
one, the bundled history is replayed, offline.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Protocol

from pydantic_settings import BaseSettings, SettingsConfigDict

from app.settings import ROOT

if TYPE_CHECKING:
    import pandas as pd


class SourceError(Exception):
    """Prices could not be had; the message is for people, and holds no secret."""


class Source(Protocol):
    def fetch(self, symbol: str) -> pd.Series:
        """Closing prices by day, in order. Raises SourceError."""


class SourceSettings(BaseSettings):
    model_config = SettingsConfigDict(env_file=ROOT / ".env", env_ignore_empty=True, extra="ignore")

    prices_url: str | None = None  # it may hold a key: never shown


def source(turn: int) -> Source:
    """The one that is configured. `turn` counts refreshes: the replay goes on a day with each."""
    url = SourceSettings().prices_url
    if url is not None:
        return _http(url)
    from app.sources.replay import Replay

    return Replay(turn)


@cache
def _http(url: str) -> Source:
    """One a process, as it remembers what it was sent."""
    from app.sources.http import HttpSource

    return HttpSource(url)
