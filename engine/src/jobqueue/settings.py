"""The environment variables that the queue, the commands and accounts read: typed, validated and read once.

An app's own settings inherit from `Settings`. Production refuses to start with defaults that are only safe on one machine.
"""

import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from jobqueue.consumer.pruner import KEEP_DAYS, KEEP_JOBS
from jobqueue.database.database import dialect_of
from jobqueue.files.files import MAX_FILE
from jobqueue.huey import GRACE, LEASE, MAX_ARGUMENTS, MAX_RESULT, UNKNOWN_AFTER
from jobqueue.ledger.queues import parse
from jobqueue.notifier.circuit_breaker import checked
from jobqueue.schedules.schedule import Where, find_place, find_zone
from jobqueue.urls import HIDDEN, printable

SHORTEST_KEY = 32  # characters
PLACEHOLDERS = ("change", "placeholder", "example", "secret", "your-", "your_", "<")  # parts that no random key has
BAD_PORT = 2  # exit code of a web process whose PORT cannot be used
BAD_SETTINGS = 4  # exit code of a process whose settings cannot be used
LINGER = 5.0  # seconds
MAKE_A_KEY = 'python3 -c "import secrets; print(secrets.token_urlsafe(48))"'
USE_POSTGRES = "Set it to a Postgres database: postgresql://user:password@host/name"

DASK_ADDRESS = re.compile(r"[a-z]+://(\[[0-9a-fA-F:.]+\]|[^:/\s]+):\d+")  # tcp, tls, ucx or ws

URLS = ("database_url", "database_direct_url", "redis_url")  # they may hold a password
KEYS = ("secret_key", "secret_key_fallbacks", "metrics_token", "sentry_dsn")
BASE, ROUTES, REQUESTS = "dash_url_base_pathname", "dash_routes_pathname_prefix", "dash_requests_pathname_prefix"

SettingsT = TypeVar("SettingsT", bound="Settings")


class SettingsError(ValueError):
    """The environment holds a value that cannot be used. The message says which, and what to set.

    :param exit_code: of a process that cannot start for this reason.
    """

    def __init__(self, message: str, exit_code: int = BAD_SETTINGS) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Settings(BaseSettings):
    """Environment variables. Each field is the variable of its name in capitals; an empty variable counts as unset.

    Inherit from it to add an app's own fields, its `.env` file (`model_config = SettingsConfigDict(env_file=...)`) and
    its default database.
    """

    model_config = SettingsConfigDict(env_ignore_empty=True, extra="ignore", frozen=True, validate_default=True)

    app_env: Literal["development", "production"] = "development"
    dyno: str | None = None  # Heroku sets it; the app is then in production
    database_url: str | None = None  # by default a SQLite file under var/ in the working directory
    database_pooling: Literal["auto", "direct", "session", "transaction", "transaction-unprepared"] = "auto"
    database_direct_url: str | None = None  # the same database without a pooler, for LISTEN and migrations
    redis_url: str | None = None  # wakes idle workers; without it the database does
    secret_key: str | None = None  # signs messages; in development one is made beside the SQLite file
    secret_key_fallbacks: Annotated[tuple[str, ...], NoDecode] = ()  # earlier keys, comma separated, that still verify
    host: str | None = None  # that the web process listens on; by default all addresses in production, else 127.0.0.1
    port: int = Field(default=8050, ge=1, le=65535)  # a host's router sets it; required in production
    web_concurrency: int = Field(default=1, ge=1)  # web processes that share the port
    web_linger: float | None = Field(default=None, ge=0)  # seconds; see `linger`
    workers: int = Field(default=2, ge=1)  # jobs that one consumer runs at the same time
    queues: str | None = None  # queues that the consumer serves, as "interactive,heavy:1"; by default every queue
    per_owner: int | None = Field(default=None, ge=1)  # jobs of one owner that may run at once
    timezone: str = "UTC"  # of the pages, and the default of schedules, as "Europe/Paris"
    place: Annotated[Where | None, NoDecode] = None  # default location of schedules: a city, or "45.5, -73.57"
    worker_grace: float = Field(default=GRACE, ge=0)  # seconds that running jobs may go on after SIGTERM
    worker_max_jobs: int | None = Field(default=None, ge=1)  # jobs after which a worker process is replaced
    worker_max_memory: int | None = Field(default=None, ge=1)  # megabytes of memory above which it is, after a job
    lease: float = Field(default=LEASE, ge=1)  # seconds after which the jobs of a silent consumer go to others
    max_arguments: int = Field(default=MAX_ARGUMENTS, ge=1)  # bytes of a job's arguments
    max_result: int = Field(default=MAX_RESULT, ge=1)  # bytes of a job's result, or of a step's value
    max_file: int = Field(default=MAX_FILE, ge=1)  # bytes of a file that a user uploads, or a job saves
    unknown_after: float = Field(default=UNKNOWN_AFTER, ge=1)  # seconds that a job may wait for code with its task
    keep_days: float = Field(default=KEEP_DAYS, ge=0)  # days that an ended job is kept; 0: for ever
    keep_jobs: int = Field(default=KEEP_JOBS, ge=0)  # the newest jobs that are kept, however old; 0: all
    dask_scheduler: str | None = (
        None  # address of the cluster for `job.dask`; by default processes of the worker's machine
    )
    log_format: Literal["text", "json"] | None = None  # by default JSON in production, text elsewhere
    metrics_token: str | None = None  # that Prometheus sends to read /metrics; without it there is no such address
    sentry_dsn: str | None = None  # where errors are sent, besides the log
    auth: Literal["off", "accounts"] | None = None  # by default accounts in production, off elsewhere
    submits: int = Field(default=30, ge=1)  # jobs that one user may submit in a minute
    proxies: int | None = Field(default=None, ge=0)  # in front of the app; by default 1 in production, else 0
    dash_url_base_pathname: str | None = None  # URL prefix of all addresses, as "/explorer/"; by default none
    dash_routes_pathname_prefix: str | None = None  # what a proxy leaves of that prefix, if it strips some of it
    dash_requests_pathname_prefix: str | None = (
        None  # the prefix that browsers see, if a proxy strips it, or some of it
    )

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        for name, value in super().__repr_args__():
            if name in URLS and value is not None:
                yield name, printable(str(value))
            else:
                yield name, HIDDEN if name in KEYS and value else value

    @property
    def production(self) -> bool:
        return self.app_env == "production" or self.dyno is not None

    @property
    def address(self) -> str:
        """Return host and port as servers take them: `127.0.0.1:8050`. Outside of production, other machines are left out."""
        host = self.host or ("0.0.0.0" if self.production else "127.0.0.1")
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"

    @property
    def linger(self) -> float:
        """Return the seconds after SIGTERM for which a web process accepts requests: 5 in production, while the router switches."""
        return LINGER * self.production if self.web_linger is None else self.web_linger

    @property
    def accounts(self) -> bool:
        """Return whether users have to log in."""
        return self.production if self.auth is None else self.auth == "accounts"

    @property
    def json_logs(self) -> bool:
        return self.production if self.log_format is None else self.log_format == "json"

    @property
    def trusted_proxies(self) -> int:
        return int(self.production) if self.proxies is None else self.proxies

    def for_queue(self) -> dict[str, Any]:
        """Return the arguments of DurableHuey that these settings give: `DurableHuey("app", **settings.for_queue())`."""
        same = {"database_url", "database_pooling", "database_direct_url", "redis_url", "secret_key", "secret_key_fallbacks",
                "timezone", "place", "max_arguments", "max_result", "max_file", "per_owner", "keep_days", "keep_jobs",
                "dask_scheduler"}  # fmt: skip
        return {name: getattr(self, name) for name in same} | {
            "lease_s": self.lease,
            "renew_s": self.lease / 3,
            "grace_s": self.worker_grace,
            "unknown_after_s": self.unknown_after,
        }

    def for_dash(self) -> dict[str, Any]:
        """Return the URL prefix as arguments of Dash: `Dash(__name__, **settings.for_dash())`."""
        return {name.removeprefix("dash_"): getattr(self, name) for name in (BASE, ROUTES, REQUESTS)}

    @field_validator("database_url", "database_direct_url")
    @classmethod
    def _check_database(cls, url: str | None, info: ValidationInfo) -> str | None:
        if url is not None and dialect_of(url).one_writer and info.field_name == "database_direct_url":
            raise ValueError("it is a SQLite file, which has no pooler. Set it to a Postgres database, or remove it")
        return url

    @field_validator("redis_url")
    @classmethod
    def _check_redis(cls, url: str | None) -> str | None:
        return None if url is None else checked(url)

    @field_validator("dask_scheduler")
    @classmethod
    def _check_dask(cls, address: str | None) -> str | None:
        if address is not None and not DASK_ADDRESS.fullmatch(address):
            raise ValueError(
                "it is no address of a Dask scheduler. Set it to tcp://HOST:PORT, as `dask scheduler` prints it"
            )
        return address

    @field_validator("queues")
    @classmethod
    def _check_queues(cls, text: str | None) -> str | None:
        parse(text)
        return text

    @field_validator("timezone")
    @classmethod
    def _check_zone(cls, name: str) -> str:
        find_zone(name)
        return name

    @field_validator("place", mode="before")
    @classmethod
    def _parse_place(cls, text: str | None) -> Where | None:
        if text is None:
            return None
        north, _, east = text.partition(",")
        try:
            where: Where = float(north), float(east)
        except ValueError:
            where = text.strip()
        find_place(where)
        return where

    @field_validator(BASE, ROUTES, REQUESTS)
    @classmethod
    def _check_prefix(cls, prefix: str | None, info: ValidationInfo) -> str | None:
        if prefix is None:
            return None
        whole = "/".join(["", *filter(None, urlsplit(prefix).path.split("/")), ""])
        if prefix != whole:
            raise ValueError(f"it must be a path that begins and ends with a slash. Set it to {whole}")
        if info.field_name != BASE and info.data.get(BASE):
            raise ValueError(f"{BASE.upper()} is set too, and means the same. Remove one of them")
        routes = info.data.get(ROUTES) or "/"
        if info.field_name == REQUESTS and not prefix.endswith(routes):
            raise ValueError(f"it must end with {ROUTES.upper()}, which is {routes}")
        return prefix

    @field_validator("secret_key_fallbacks", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(key.strip() for key in value.split(",") if key.strip()) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _check_production(self) -> "Settings":
        if not self.production:
            return self
        key = self.secret_key or ""
        if not key:
            raise ValueError(
                f"SECRET_KEY is not set. Set it to the same key for web and workers. To make one: {MAKE_A_KEY}"
            )
        if len(key) < SHORTEST_KEY or len(set(key)) < 10 or any(word in key.lower() for word in PLACEHOLDERS):
            raise ValueError(
                f"SECRET_KEY is a placeholder, or shorter than {SHORTEST_KEY} characters. "
                f"Set a random key. To make one: {MAKE_A_KEY}"
            )
        if "database_url" not in self.model_fields_set:
            raise ValueError(f"DATABASE_URL is not set. {USE_POSTGRES}")
        if self.database_url is None or self.database_url.startswith("sqlite"):
            raise ValueError(f"DATABASE_URL is a SQLite file, which a deploy deletes. {USE_POSTGRES}")
        return self


def load(settings: type[SettingsT]) -> SettingsT:
    """Read an app's settings. Raises SettingsError, which says what to set."""
    try:
        return settings()
    except ValidationError as error:
        of_port = all(problem["loc"] == ("port",) for problem in error.errors())
        code = BAD_PORT if of_port else BAD_SETTINGS
        raise SettingsError("\n".join(_sentence(problem) for problem in error.errors()), code) from None


def load_or_exit(settings: type[SettingsT]) -> SettingsT:
    """Read an app's settings. If that fails, print only what to set and exit the process, whatever it was starting."""
    try:
        return load(settings)
    except SettingsError as error:
        print(error, file=sys.stderr)
        raise SystemExit(error.exit_code) from None


def _sentence(problem: ErrorDetails) -> str:
    match problem:
        case {
            "loc": (
                "database_url" | "database_direct_url" | "redis_url" | "queues" | "timezone" | "place" as field,
                *_,
            ),
            "ctx": {"error": error},
        }:
            return f"{field.upper()} cannot be used: {error}"
        case {"loc": (str(field), *_), "msg": str(message)} if field in URLS + KEYS:
            return f"{field.upper()} cannot be used: {message}."
        case {"loc": (str(field),), "input": given, "ctx": {"error": error}}:
            return f"{field.upper()} is {given!r}: {error}."
        case {"type": "missing", "loc": (str(field), *_)}:
            return f"{field.upper()} is not set. Set it; it has no default."
        case {"loc": (str(field), *_), "msg": str(message), "input": given}:
            return f"{field.upper()} is {given!r}: {message}."
        case {"ctx": {"error": error}}:
            return f"The app runs in production (APP_ENV or DYNO), and {error}"
    return problem["msg"]


@dataclass(frozen=True)
class Project:
    """Names and texts from an app's pyproject.toml."""

    name: str  # of the distribution, the command and the queue
    title: str
    description: str
    author: str


def read_project(path: Path) -> Project:
    """Read `[project]`, and the title under `[tool.app]`. Raises FileNotFoundError, tomllib.TOMLDecodeError."""
    pyproject = tomllib.loads(path.read_text(encoding="utf-8"))
    project = pyproject["project"]
    return Project(
        name=project["name"],
        title=pyproject.get("tool", {}).get("app", {}).get("title", project["name"]),
        description=project.get("description", ""),
        author=", ".join(author.get("name", "") for author in project.get("authors", [])),
    )
