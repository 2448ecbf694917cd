"""A meter for operations of the ledger: their statements, and the rows and pages that the database reads for each.

On Postgres, auto_explain sends each executed plan to the client, also for prepared statements. SQLite counts the
instructions of its virtual machine, and explains the plan of a statement.
"""

import json
import re
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch
from urllib.parse import quote

import psycopg

from jobqueue.database.database import Database, Transaction
from jobqueue.ledger.ledger import Ledger
from tests import statements

EXPLAINED = {
    "session_preload_libraries": "auto_explain",
    "auto_explain.log_min_duration": "0",
    "auto_explain.log_analyze": "on",
    "auto_explain.log_buffers": "on",
    "auto_explain.log_format": "json",
    "auto_explain.log_level": "notice",
    "auto_explain.log_timing": "off",
}
NAMES = {text: name for name, text in statements.by_name().items()}

# Index of a constraint -> its table and columns, because each database gives it a different name.
CONSTRAINTS = {
    "jobs_pkey": "jobs (seq)",
    "jobs_id_key": "jobs (id)",
    "sqlite_autoindex_jobs_1": "jobs (id)",
    "results_pkey": "results (job_id)",
    "sqlite_autoindex_results_1": "results (job_id)",
    "steps_pkey": "steps (job_id, name)",
    "sqlite_autoindex_steps_1": "steps (job_id, name)",
    "handles_id_key": "handles (id)",
    "sqlite_autoindex_handles_1": "handles (id)",
    "logs_pkey": "logs (job_id)",
    "sqlite_autoindex_logs_1": "logs (job_id)",
    "callback_updates_pkey": "callback_updates (job_id, name)",
    "sqlite_autoindex_callback_updates_1": "callback_updates (job_id, name)",
    "callback_answers_pkey": "callback_answers (question)",
    "sqlite_autoindex_callback_answers_1": "callback_answers (question)",
    "entries_pkey": "entries (key)",
    "sqlite_autoindex_entries_1": "entries (key)",
    "schedules_pkey": "schedules (name)",
    "sqlite_autoindex_schedules_1": "schedules (name)",
    "datasets_pkey": "datasets (name)",
    "sqlite_autoindex_datasets_1": "datasets (name)",
    "dataset_versions_pkey": "dataset_versions (name, version)",
    "sqlite_autoindex_dataset_versions_1": "dataset_versions (name, version)",
}


@dataclass
class Execution:
    """One execution of a statement, by its name in tests/statements.py."""

    name: str
    rows: int = 0  # Postgres: rows read in tables and indexes
    blocks: int = 0  # Postgres: pages of 8 KiB read, from memory or disk
    steps: int = 0  # SQLite: instructions of its virtual machine
    searches: Counter[str] = field(default_factory=Counter)  # number of searches in each index
    scanned: set[str] = field(default_factory=set)  # tables read without an index
    wrote: Counter[str] = field(default_factory=Counter)  # rows written, by table


def metered_ledger(url: str) -> Ledger:
    """Return a ledger whose statements can be metered. It is a little slower, so do not measure its time."""
    if url.startswith("postgresql:"):
        url += "?options=" + quote(" ".join(f"-c {name}={value}" for name, value in EXPLAINED.items()))
    return Ledger(Database(url))


@contextmanager
def metered() -> Iterator[list[Execution]]:
    """Yield a list of the statements that metered ledgers execute in the block. It is complete after the block."""
    executions: list[Execution] = []
    plans: list[dict[str, Any]] = []
    execute = Transaction._execute

    def save_plan(diagnostic: psycopg.errors.Diagnostic) -> None:
        plans.append(json.loads(str(diagnostic.message_primary).partition("plan:")[2]))

    connections: list[psycopg.Connection[Any]] = []

    def counted(tx: Transaction, sql: str, params: dict[str, Any]) -> None:
        executions.append(Execution(name_of(sql)))
        connection = tx._cursor.connection
        if isinstance(connection, sqlite3.Connection):
            explain(connection, executions[-1], tx._dialect.compile(sql), tx._dialect.bind(params))
        elif connection not in connections:
            connection.add_notice_handler(save_plan)
            connections.append(connection)
        execute(tx, sql, params)

    def each(tx: Transaction, sql: str, rows: Sequence[dict[str, Any]]) -> None:
        for params in rows:
            tx.run(sql, **params)

    with patch.multiple(Transaction, _execute=counted, run_each=each):
        yield executions
    for connection in connections:
        connection.remove_notice_handler(save_plan)
    if connections:
        assert len(plans) == len(executions)
    for execution, explained in zip(executions, plans, strict=False):
        read(execution, explained["Plan"])


def name_of(sql: str) -> str:
    """Return a statement's name in tests/statements.py, or the statement itself if it has none."""
    if sql in NAMES:
        return NAMES[sql]
    templates = ((text, name) for text, name in NAMES.items() if "{" in text)
    return next((name for text, name in templates if like(text).fullmatch(sql)), sql)


def like(template: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\{\w+\\}", ".+", re.escape(template)), re.DOTALL)


def read(execution: Execution, plan: dict[str, Any]) -> None:
    """Add the figures of a plan, in Postgres's JSON format, to an execution."""
    execution.blocks = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
    for node in nodes(plan):
        loops = node["Actual Loops"]
        if "Relation Name" in node and node["Node Type"] == "ModifyTable":
            (below,) = [child for child in node["Plans"] if child["Parent Relationship"] == "Outer"]
            rows = int(below["Actual Rows"] * below["Actual Loops"])
            execution.wrote[node["Relation Name"]] += rows
            for index in node.get("Conflict Arbiter Indexes", []):
                execution.searches[plain(index)] += rows
        elif "Relation Name" in node or "Index Name" in node:
            seen = node["Actual Rows"] + sum(
                node.get(f"Rows Removed by {why}", 0) for why in ("Filter", "Index Recheck")
            )
            if node["Node Type"] != "Bitmap Index Scan":  # the heap scan counts its rows
                execution.rows += round(seen * loops)
            if "Index Name" in node:
                execution.searches[plain(node["Index Name"])] += node["Index Searches"]
            elif node["Node Type"] != "Bitmap Heap Scan":
                execution.scanned.add(node["Relation Name"])


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes(child)


def explain(connection: sqlite3.Connection, execution: Execution, sql: str, params: dict[str, Any]) -> None:
    """Add SQLite's plan of a statement to an execution. Count the instructions until the next statement."""
    connection.set_progress_handler(None, 0)
    for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", params):
        found = re.match(r"(SEARCH|SCAN) (\w+)(?: USING (?:COVERING )?(INDEX (\w+)|INTEGER PRIMARY KEY))?", row[3])
        if found is not None and not ("json_each" in row[3] or "CONSTANT" in row[3]):
            _, table, how, index = found.groups()
            if how is None:
                execution.scanned.add(table)
            else:
                execution.searches[plain(index or "jobs_pkey")] += 1

    def step() -> None:
        execution.steps += 1

    connection.set_progress_handler(step, 1)


def plain(index: str) -> str:
    return CONSTRAINTS.get(index, index)


def heights(ledger: Ledger) -> dict[str, int]:
    """Return the number of levels above the leaves of each Postgres index, by name."""
    with ledger.database.statement() as tx:
        tx.run("CREATE EXTENSION IF NOT EXISTS pageinspect")
        rows = tx.all(
            "SELECT relname AS name, (bt_metap(relname)).level AS level FROM pg_class "
            "WHERE relkind = 'i' AND relnamespace = CAST('public' AS regnamespace) "
            "AND relam = (SELECT oid FROM pg_am WHERE amname = 'btree')"
        )
        return {plain(row["name"]): row["level"] for row in rows}
