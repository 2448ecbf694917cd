"""Every environment variable that the app knows, read once, typed. `.env` beside pyproject.toml is read too; the environment wins.

Production refuses to start on a default that is only right on one's own machine.
"""

import sys
from pathlib import Path
from typing import Annotated, Literal

from jobqueue.database.database import dialect_of
from jobqueue.ledger.queues import parse
from jobqueue.schedules.schedule import Where, find_place, find_zone
from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.about import ROOT

SHORTEST_KEY = 32  # characters
PLACEHOLDERS = ("change", "placeholder", "example", "secret", "your-", "your_", "<")  # parts that no random key has
GUNICORN_GIVES_UP = 4  # the exit code of an app that cannot be loaded
MAKE_A_KEY = 'python -c "import secrets; print(secrets.token_urlsafe(48))"'


class SettingsError(ValueError):
    """The app cannot start as it is configured; the message says what to set."""


class Settings(BaseSettings):
    """Each field is the environment variable of its name in capitals."""

    model_config = SettingsConfigDict(
        env_file=ROOT / ".env", env_ignore_empty=True, extra="ignore", frozen=True, validate_default=True
    )

    app_env: Literal["development", "production"] = "development"
    dyno: str | None = None  # set by Heroku: that is production
    database_url: str = f"sqlite:///{ROOT / 'var' / 'jobs.sqlite'}"
    redis_url: str | None = None  # wakes idle workers; without it the database does
    secret_key: str | None = None  # signs what waits in the queue; in development one is made beside the SQLite file
    secret_key_fallbacks: Annotated[tuple[str, ...], NoDecode] = ()  # earlier keys, comma separated, while jobs wait
    port: int = Field(8050, ge=1, le=65535)
    workers: int = Field(2, ge=1)  # jobs that run at the same time in one consumer
    queues: str | None = None  # those that its workers serve: "interactive,heavy:1"; every queue where it is not set
    per_owner: int | None = Field(None, ge=1)  # jobs of one owner that run at the same time, in all consumers
    timezone: str = "UTC"  # of schedules that name none: "Europe/Paris"
    place: Annotated[Where | None, NoDecode] = (
        None  # of those by the sun: a city, or degrees north and east: "45.5, -73.57"
    )
    worker_grace: float = Field(25, ge=0)  # seconds that running jobs may go on after SIGTERM
    lease: float = Field(15, ge=1)  # seconds until a job whose consumer is not heard of goes to another
    max_arguments: int = Field(1_000_000, ge=1)  # bytes that a job may be given
    max_result: int = Field(64_000_000, ge=1)  # bytes that it may return, or keep of a step
    unknown_after: float = Field(3600, ge=1)  # seconds that a job may wait for a worker whose code has its task
    auth: Literal["off", "accounts"] | None = None  # by default accounts in production, and off elsewhere
    submits: int = Field(30, ge=1)  # jobs that one user may submit in a minute
    proxies: int | None = Field(None, ge=0)  # between browsers and here; by default 1 in production (the host's), and 0

    keep_days: float = Field(30, ge=0)  # after its end, in which a job is kept; 0: for ever
    keep_jobs: int = Field(1_000_000, ge=0)  # the newest are kept, however many days; 0: all

    @property
    def production(self) -> bool:
        return self.app_env == "production" or self.dyno is not None

    @property
    def accounts(self) -> bool:
        """Whether one has to log in."""
        return self.production if self.auth is None else self.auth == "accounts"

    @property
    def trusted_proxies(self) -> int:
        return int(self.production) if self.proxies is None else self.proxies

    @field_validator("database_url")
    @classmethod
    def _a_known_database(cls, url: str) -> str:
        dialect_of(url)
        return url

    @field_validator("redis_url")
    @classmethod
    def _a_redis(cls, url: str | None) -> str | None:
        if url is not None and not url.startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("It has to begin with redis:// or rediss://")
        return url

    @field_validator("queues")
    @classmethod
    def _queues(cls, text: str | None) -> str | None:
        parse(text)
        return text

    @field_validator("timezone")
    @classmethod
    def _a_zone(cls, name: str) -> str:
        find_zone(name)
        return name

    @field_validator("place", mode="before")
    @classmethod
    def _a_place(cls, text: str | None) -> Where | None:
        if text is None:
            return None
        north, _, east = text.partition(",")
        try:
            where: Where = float(north), float(east)
        except ValueError:
            where = text.strip()
        find_place(where)
        return where

    @field_validator("secret_key_fallbacks", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(key.strip() for key in value.split(",") if key.strip()) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _fit_for_production(self) -> "Settings":
        if not self.production:
            return self
        key = self.secret_key or ""
        if not key:
            raise ValueError(f"SECRET_KEY is not set. Set it, the same for web and workers; to make one: {MAKE_A_KEY}")
        if len(key) < SHORTEST_KEY or len(set(key)) < 10 or any(word in key.lower() for word in PLACEHOLDERS):
            raise ValueError(
                f"SECRET_KEY is a placeholder, or shorter than {SHORTEST_KEY} characters. "
                f"Set a key of your own; to make one: {MAKE_A_KEY}"
            )
        if "database_url" not in self.model_fields_set:
            raise ValueError(
                "DATABASE_URL is not set. Set it to a Postgres database: postgresql://user:password@host/name"
            )
        if self.database_url.startswith("sqlite"):
            raise ValueError(
                "DATABASE_URL is a SQLite file, which does not outlive a deploy. "
                "Set it to a Postgres database: postgresql://user:password@host/name"
            )
        return self


def load(env_file: Path | None = ROOT / ".env") -> Settings:
    """Raises SettingsError, which says what to set."""
    try:
        return Settings(_env_file=env_file)  # type: ignore[call-arg]  # pydantic-settings takes it
    except ValidationError as error:
        raise SettingsError("\n".join(_sentence(problem) for problem in error.errors())) from None


def _sentence(problem: object) -> str:
    match problem:
        case {
            "loc": ("database_url" | "redis_url" | "queues" | "timezone" | "place" as field, *_),
            "ctx": {"error": error},
        }:  # a URL may hold a password
            return f"{field.upper()} cannot be used: {error}"
        case {"loc": (str(field), *_), "msg": str(message), "input": given}:
            return f"{field.upper()} is {given!r}: {message}."
        case {"ctx": {"error": error}}:
            return f"This is production (APP_ENV or DYNO says so), and {error}"
    return str(problem)


def load_or_exit() -> Settings:
    """Whatever was starting ends with the sentence alone; gunicorn too, which starts a worker again after any other code."""
    try:
        return load()
    except SettingsError as error:
        print(error, file=sys.stderr)
        raise SystemExit(GUNICORN_GIVES_UP) from None


settings = load_or_exit()
