"""Database problems in words: a name that anybody may read, and a sentence for operators."""

import logging

import psycopg
import pytest

from jobqueue.database.problems import Reminder, classify

URL = "postgresql://desk:hunter2secret@host/app"


def test_a_pooler_that_changes_the_connection_is_named(fresh_postgres: str) -> None:
    with psycopg.connect(fresh_postgres, autocommit=True) as connection, pytest.raises(psycopg.Error) as refused:
        for _ in range(2):  # a pooler gives the same connection to two clients, who both prepare
            connection.execute("PREPARE one AS SELECT 1")
    problem = classify(refused.value, URL)
    assert problem.name == "pooler" and problem.lasts
    assert "session mode" in problem.sentence


@pytest.mark.parametrize(
    ("text", "grant"),
    [
        ("permission denied for schema Desk-2", 'GRANT USAGE, CREATE ON SCHEMA "Desk-2" TO desk;'),
        ('permission denied for database "app"', "GRANT CONNECT ON DATABASE app TO desk;"),
        ("permission denied for table jobs", "GRANT ALL ON ALL TABLES IN SCHEMA public TO desk;"),
        ("no schema has been selected to create in", "GRANT USAGE, CREATE ON SCHEMA public TO desk;"),
        ("must be owner of table jobs", "Set DATABASE_URL to the role that owns the tables."),
    ],
)
def test_a_missing_right_comes_with_the_statement_to_run(text: str, grant: str) -> None:
    problem = classify(psycopg.errors.InsufficientPrivilege(text), URL)
    assert problem.name == "no rights"
    assert problem.sentence.endswith(grant)


def test_a_sentence_is_one_line_without_the_password() -> None:
    error = OSError("no route to host\n\tfor hunter2secret\n" + "and so on " * 1000)
    sentence = classify(error, URL).sentence
    assert "\n" not in sentence and "hunter2secret" not in sentence and len(sentence) < 600


def test_a_lasting_problem_is_logged_once_a_minute(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = [1000.0]
    monkeypatch.setattr("jobqueue.database.problems.time.monotonic", lambda: now[0])
    reminder = Reminder(logging.getLogger("tests"))
    for now[0] in range(1000, 1120):
        reminder.warn("waits: %s", "down", about="unreachable")
    reminder.warn("waits: %s", "full", about="too many connections")
    assert [record.getMessage() for record in caplog.records] == ["waits: down", "waits: down", "waits: full"]
