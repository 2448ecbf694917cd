"""What may be configured, and what is refused with a sentence that says what to set."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from app.about import ROOT
from app.settings import SettingsError, load

KEY = "k3yTh4tNobodyGuesses-0123456789abcdefg"
POSTGRES = "postgresql://ann:pw@db/app"
NAMES = [
    "APP_ENV",
    "DYNO",
    "DATABASE_URL",
    "REDIS_URL",
    "SECRET_KEY",
    "SECRET_KEY_FALLBACKS",
    "PORT",
    "WORKERS",
    "QUEUES",
    "PER_OWNER",
    "TIMEZONE",
    "PLACE",
    "WORKER_GRACE",
    "LEASE",
    "UNKNOWN_AFTER",
    "MAX_ARGUMENTS",
    "MAX_RESULT",
    "AUTH",
    "SUBMITS",
    "PROXIES",
]


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


def load_with(monkeypatch: pytest.MonkeyPatch, **variables: str):  # type: ignore[no-untyped-def]
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return load(env_file=None)


def test_development_needs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_with(monkeypatch)
    assert not settings.production
    assert settings.database_url.startswith("sqlite:////") and settings.database_url.endswith("/var/jobs.sqlite")
    assert (settings.secret_key, settings.port, settings.workers) == (None, 8050, 2)
    assert (settings.worker_grace, settings.lease) == (25, 15)


@pytest.mark.parametrize(
    ("variables", "accounts"),
    [({}, False), ({"AUTH": "accounts"}, True), ({"DYNO": "web.1"}, True), ({"DYNO": "web.1", "AUTH": "off"}, False)],
    ids=str,
)
def test_one_has_to_log_in_in_production_unless_that_is_off(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], accounts: bool
) -> None:
    settings = load_with(monkeypatch, **variables, SECRET_KEY=KEY, DATABASE_URL=POSTGRES)
    assert settings.accounts is accounts
    assert settings.trusted_proxies == int("DYNO" in variables)


def test_an_empty_variable_is_one_that_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_with(monkeypatch, DATABASE_URL="", PORT="").port == 8050


def test_fallback_keys_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_with(monkeypatch, SECRET_KEY_FALLBACKS="one, two,").secret_key_fallbacks == ("one", "two")


@pytest.mark.parametrize(
    ("text", "place"),
    [("Montreal", "Montreal"), ("45.5, -73.57", (45.5, -73.57)), ("", None)],
)
def test_a_place_is_a_city_or_degrees(monkeypatch: pytest.MonkeyPatch, text: str, place: object) -> None:
    assert load_with(monkeypatch, PLACE=text).place == place


def test_schedules_keep_to_the_clock_and_the_sun_of_the_settings() -> None:
    show = "from app.jobs import huey; print(huey.timezone, huey.place)"
    environment = os.environ | {"TIMEZONE": "America/Toronto", "PLACE": "Montreal"}
    shown = subprocess.run([sys.executable, "-c", show], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert shown.stdout == "America/Toronto Montreal\n"


@pytest.mark.parametrize("sign", [{"APP_ENV": "production"}, {"DYNO": "web.1"}], ids=str)
def test_production_starts_with_a_key_and_a_server(monkeypatch: pytest.MonkeyPatch, sign: dict[str, str]) -> None:
    settings = load_with(monkeypatch, **sign, SECRET_KEY=KEY, DATABASE_URL=POSTGRES)
    assert settings.production and settings.secret_key == KEY and settings.database_url == POSTGRES


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"DATABASE_URL": POSTGRES}, "SECRET_KEY is not set. Set it"),
        ({"DATABASE_URL": POSTGRES, "SECRET_KEY": "short"}, "SECRET_KEY is a placeholder, or shorter than 32"),
        ({"DATABASE_URL": POSTGRES, "SECRET_KEY": "change-me" * 8}, "SECRET_KEY is a placeholder"),
        ({"DATABASE_URL": POSTGRES, "SECRET_KEY": "a" * 64}, "SECRET_KEY is a placeholder"),
        ({"SECRET_KEY": KEY}, "DATABASE_URL is not set. Set it to a Postgres database"),
        ({"SECRET_KEY": KEY, "DATABASE_URL": "sqlite:///jobs.sqlite"}, "DATABASE_URL is a SQLite file"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_production_refuses(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        load_with(monkeypatch, APP_ENV="production", **variables)


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"PORT": "http"}, "PORT is 'http'"),
        ({"WORKERS": "0"}, "WORKERS is '0'"),
        ({"QUEUES": "heavy:0"}, "QUEUES cannot be used: 'heavy:0'"),
        ({"PER_OWNER": "0"}, "PER_OWNER is '0'"),
        ({"TIMEZONE": "Europe/Pariss"}, "TIMEZONE cannot be used: 'Europe/Pariss' is no time zone.*'Europe/Paris'"),
        (
            {"PLACE": "Montreel"},
            "PLACE cannot be used: .*'Montreel' is no city that astral knows. Did you mean 'Montreal'",
        ),
        ({"PLACE": "91, 0"}, "PLACE cannot be used: .*from -90 to 90 degrees north"),
        ({"WORKER_GRACE": "-1"}, "WORKER_GRACE is '-1'"),
        ({"APP_ENV": "staging"}, "APP_ENV is 'staging'"),
        ({"AUTH": "basic"}, "AUTH is 'basic'"),
    ],
    ids=str,
)
def test_a_wrong_value_is_named(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        load_with(monkeypatch, **variables)


@pytest.mark.parametrize("name", ["DATABASE_URL", "REDIS_URL"])
def test_an_address_that_cannot_be_used_is_refused_without_its_password(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    with pytest.raises(SettingsError, match=f"{name} cannot be used: ") as refused:
        load_with(monkeypatch, **{name: "http://ann:hunter2@host/name"})
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_a_postgres_address_is_taken_as_hosts_give_it(monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    url = f"{scheme}://ann:p%40ss@host:5432/name?sslmode=require"
    assert load_with(monkeypatch, DATABASE_URL=url, REDIS_URL="rediss://:pw@host:6380").database_url == url


def test_a_key_is_never_part_of_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError) as refused:
        load_with(monkeypatch, APP_ENV="production", SECRET_KEY="hunter2hunter2")
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    "command",
    [["-m", "app", "worker"], ["-m", "gunicorn", "app.web:server", "--bind", "127.0.0.1:0", "--no-control-socket"]],
)
def test_what_starts_in_production_without_a_key_ends_with_the_sentence(command: list[str], tmp_path: Path) -> None:
    environment = os.environ | {"APP_ENV": "production", "HOME": str(tmp_path)}
    ended = subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 4
    assert "SECRET_KEY is not set. Set it" in ended.stderr and "Traceback" not in ended.stderr
