"""The app's environment variables, read once. `.env` beside pyproject.toml is read too; the environment wins."""

from pathlib import Path

import jobqueue.settings
from jobqueue.settings import load_or_exit, read_project
from pydantic import Field
from pydantic_settings import SettingsConfigDict

ROOT = Path(__file__).resolve().parents[1]


class Settings(jobqueue.settings.Settings):
    """Each field is the environment variable of its name in capitals. Those of the queue are inherited."""

    model_config = SettingsConfigDict(env_file=ROOT / ".env")

    database_url: str = f"sqlite:///{ROOT / 'var' / 'jobs.sqlite'}"
    # An update of the template changes the lines above this comment, and none below it. The app's own begin here:
    # `prices_key: str | None = None` makes PRICES_KEY available as `settings.prices_key`. Add yours at the end.
    keep_jobs: int = Field(1_000_000, ge=0)  # the newest are kept, however many days; 0: all


settings = load_or_exit(Settings)
project = read_project(ROOT / "pyproject.toml")  # name, title, description and author
