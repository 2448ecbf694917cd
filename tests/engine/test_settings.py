"""Environment variables: which are read, and which values are refused with a sentence that says what to set."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from dash import Dash

from jobqueue import DurableHuey
from jobqueue.settings import Settings, SettingsError, load, read_project
from tests.baking import KIT, TEMPLATE

KEY = "k3yTh4tNobodyGuesses-0123456789abcdefg"
BASE, ROUTES, REQUESTS = "DASH_URL_BASE_PATHNAME", "DASH_ROUTES_PATHNAME_PREFIX", "DASH_REQUESTS_PATHNAME_PREFIX"
POSTGRES = "postgresql://ann:pw@db/app"


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


def load_with(monkeypatch: pytest.MonkeyPatch, **variables: str) -> Settings:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return load(Settings)


def test_development_needs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_with(monkeypatch)
    assert not settings.production
    assert (settings.database_url, settings.secret_key, settings.port, settings.workers) == (None, None, 8050, 2)
    assert (settings.worker_grace, settings.lease) == (25, 15)


@pytest.mark.parametrize(
    ("variables", "address"),
    [
        ({}, "127.0.0.1:8050"),
        ({"HOST": "", "PORT": "80"}, "127.0.0.1:80"),
        ({"HOST": "10.0.0.5"}, "10.0.0.5:8050"),
        ({"DYNO": "web.1"}, "0.0.0.0:8050"),
        ({"DYNO": "web.1", "HOST": "::"}, "[::]:8050"),
    ],
    ids=str,
)
def test_other_machines_reach_the_app_in_production_or_by_host(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], address: str
) -> None:
    assert load_with(monkeypatch, **variables, SECRET_KEY=KEY, DATABASE_URL=POSTGRES).address == address


@pytest.mark.parametrize(
    ("variables", "accounts"),
    [({}, False), ({"AUTH": "accounts"}, True), ({"DYNO": "web.1"}, True), ({"DYNO": "web.1", "AUTH": "off"}, False)],
    ids=str,
)
def test_production_requires_a_log_in_unless_auth_is_off(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], accounts: bool
) -> None:
    settings = load_with(monkeypatch, **variables, SECRET_KEY=KEY, DATABASE_URL=POSTGRES)
    assert settings.accounts is accounts
    assert settings.trusted_proxies == int("DYNO" in variables)


@pytest.mark.parametrize(
    ("variables", "seconds"), [({}, 0), ({"DYNO": "web.1"}, 5), ({"DYNO": "web.1", "WEB_LINGER": "0"}, 0)], ids=str
)
def test_a_stopping_web_accepts_requests_for_five_seconds_in_production(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], seconds: float
) -> None:
    assert load_with(monkeypatch, **variables, SECRET_KEY=KEY, DATABASE_URL=POSTGRES).linger == seconds


@pytest.mark.parametrize(
    ("variables", "code"), [({"PORT": "x"}, 2), ({"WORKERS": "x"}, 4), ({"PORT": "x", "WORKERS": "x"}, 4)], ids=str
)
def test_a_port_that_is_no_number_has_an_exit_code_of_its_own(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], code: int
) -> None:
    with pytest.raises(SettingsError) as refused:
        load_with(monkeypatch, **variables)
    assert refused.value.exit_code == code


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_with(monkeypatch, DATABASE_URL="", PORT="").port == 8050


def test_fallback_keys_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_with(monkeypatch, SECRET_KEY_FALLBACKS="one, two,").secret_key_fallbacks == ("one", "two")


def test_dash_takes_the_url_prefix_from_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    both = {"DASH_ROUTES_PATHNAME_PREFIX": "/b/", "DASH_REQUESTS_PATHNAME_PREFIX": "/a/b/"}
    app = Dash("prefix", **load_with(monkeypatch, **both).for_dash())
    assert (app.config.routes_pathname_prefix, app.config.requests_pathname_prefix) == ("/b/", "/a/b/")


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({BASE: "explorer"}, f"{BASE} is 'explorer': it must be a path that begins and ends with a slash. Set it to /explorer/."),
        ({BASE: "/a//b"}, f"{BASE} is '/a//b': it must be a path that begins and ends with a slash. Set it to /a/b/."),
        ({REQUESTS: "https://desk.example/app"},
         f"{REQUESTS} is 'https://desk.example/app': it must be a path that begins and ends with a slash. Set it to /app/."),
        ({BASE: "/a/", REQUESTS: "/a/"}, f"{REQUESTS} is '/a/': {BASE} is set too, and means the same. Remove one of them."),
        ({ROUTES: "/b/", REQUESTS: "/a/"}, f"{REQUESTS} is '/a/': it must end with {ROUTES}, which is /b/."),
    ],
    ids=str,
)  # fmt: skip
def test_a_malformed_url_prefix_is_refused_with_what_to_set(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], sentence: str
) -> None:
    with pytest.raises(SettingsError) as refused:
        load_with(monkeypatch, **variables)
    assert str(refused.value) == sentence


@pytest.mark.parametrize(
    ("text", "place"),
    [("Montreal", "Montreal"), ("45.5, -73.57", (45.5, -73.57)), ("", None)],
)
def test_a_place_is_a_city_or_degrees(monkeypatch: pytest.MonkeyPatch, text: str, place: object) -> None:
    assert load_with(monkeypatch, PLACE=text).place == place


def test_the_queue_takes_its_options_from_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_with(
        monkeypatch, TIMEZONE="America/Toronto", PLACE="Montreal", DATABASE_URL=POSTGRES, LEASE="6", WORKER_GRACE="3"
    )
    huey = DurableHuey("tests", **settings.for_queue())
    assert (str(huey.timezone), huey.place, huey.database_url) == ("America/Toronto", "Montreal", POSTGRES)
    assert (huey.lease_s, huey.renew_s, huey.grace_s) == (6, 2, 3)


def test_an_app_adds_its_own_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Own(Settings, env_file=tmp_path / ".env"):
        database_url: str = "sqlite:////srv/app.sqlite"
        prices_key: str

    Path(tmp_path, ".env").write_text("PRICES_KEY=k\nPORT=1234\n")
    monkeypatch.setenv("PORT", "8051")
    settings = load(Own)
    assert (settings.database_url, settings.prices_key, settings.port) == ("sqlite:////srv/app.sqlite", "k", 8051)
    Path(tmp_path, ".env").unlink()
    with pytest.raises(SettingsError, match="PRICES_KEY is not set"):
        load(Own)


def test_an_apps_default_database_is_not_for_production(monkeypatch: pytest.MonkeyPatch) -> None:
    class Own(Settings):
        database_url: str = "sqlite:////srv/app.sqlite"

    monkeypatch.setenv("APP_ENV", "production")
    monkeypatch.setenv("SECRET_KEY", KEY)
    with pytest.raises(SettingsError, match="DATABASE_URL is not set"):
        load(Own)


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
        ({"WORKER_MAX_JOBS": "0"}, "WORKER_MAX_JOBS is '0'"),
        ({"WORKER_MAX_MEMORY": "1 GB"}, "WORKER_MAX_MEMORY is '1 GB'"),
        ({"DASK_SCHEDULER": "10.0.0.5:8786"}, "DASK_SCHEDULER is '10.0.0.5:8786': .* Set it to tcp://HOST:PORT"),
        ({"TIMEZONE": "Europe/Pariss"}, "TIMEZONE cannot be used: 'Europe/Pariss' is not a time zone.*'Europe/Paris'"),
        (
            {"PLACE": "Montreel"},
            "PLACE cannot be used: .*'Montreel' is not a city that astral knows. Did you mean 'Montreal'",
        ),
        ({"PLACE": "91, 0"}, "PLACE cannot be used: .*-90 to 90 degrees north"),
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
def test_a_malformed_url_is_refused_without_its_password(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    with pytest.raises(SettingsError, match=f"{name} cannot be used: ") as refused:
        load_with(monkeypatch, **{name: "http://ann:hunter2@host/name"})
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_a_postgres_url_is_accepted_in_every_form_that_hosts_use(monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    url = f"{scheme}://ann:p%40ss@host:5432/name?sslmode=require"
    assert load_with(monkeypatch, DATABASE_URL=url, REDIS_URL="rediss://:pw@host:6380").database_url == url


def test_a_key_is_never_part_of_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError) as refused:
        load_with(monkeypatch, APP_ENV="production", SECRET_KEY="hunter2hunter2")
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("name", ["worker", "web"])
def test_processes_exit_with_the_sentence_in_production_without_a_key(name: str, tmp_path: Path) -> None:
    environment = os.environ | {
        "APP_ENV": "production",
        "HOME": str(tmp_path),
        "PYTHONPATH": str(KIT / "engine" / "src"),
    }
    ended = subprocess.run(
        [sys.executable, "-m", "app", name], cwd=TEMPLATE, env=environment, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 4
    assert "SECRET_KEY is not set. Set it" in ended.stderr and "Traceback" not in ended.stderr


def test_title_description_and_author_are_read_from_pyproject_as_they_are(tmp_path: Path) -> None:
    odd = 'L\'Éq "Q" {{7*7}} <b>'
    quoted = odd.replace('"', '\\"')
    path = tmp_path / "pyproject.toml"
    path.write_text(
        f'[project]\nname = "desk"\ndescription = "{quoted}"\nauthors = [{{ name = "{quoted}" }}]\n'
        f'[tool.app]\ntitle = "{quoted}"\n',
        encoding="utf-8",
    )
    project = read_project(path)
    assert (project.name, project.title, project.description, project.author) == ("desk", odd, odd, odd)
