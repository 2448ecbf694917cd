"""Sources of prices. Only workers use them; pages read the saved dataset.

The environment variable PRICES_URL names a server: an address with `{symbol}` in it that returns prices as CSV. Without
it, the bundled history is replayed offline.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Protocol

from pydantic_settings import BaseSettings, SettingsConfigDict

from app.settings import ROOT

if TYPE_CHECKING:
    import pandas as pd


class SourceError(Exception):
    """Prices are not available. The message is for users and holds no secret."""


class Source(Protocol):
    def fetch(self, symbol: str) -> pd.Series:
        """Return closing prices by day, oldest first. Raises SourceError."""


class SourceSettings(BaseSettings):
    model_config = SettingsConfigDict(env_file=ROOT / ".env", env_ignore_empty=True, extra="ignore")

    prices_url: str | None = None  # never shown, as it may hold a key


def source(turn: int) -> Source:
    """Return the configured source.

    :param turn: number of the refresh. The replay moves on by a day with each.
    """
    url = SourceSettings().prices_url
    if url is not None:
        return _http(url)
    from app.sources.replay import Replay

    return Replay(turn)


@cache
def _http(url: str) -> Source:
    """Return the process's one source for this address. It remembers answers, so that unchanged ones are not sent again."""
    from app.sources.http import HttpSource

    return HttpSource(url)
