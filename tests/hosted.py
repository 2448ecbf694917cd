"""A Postgres as hosts give it: TLS, few connections, idle ones cut, short statements, a plain role, and a schema by `options`."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote, urlsplit

import psycopg

from tests.proxy import Proxy
from tests.servers import HOST, fresh_database

CONNECTIONS = 20  # of the smallest plans
SETTINGS = {"statement_timeout": "2s", "idle_session_timeout": "3s"}


@contextmanager
def hosted_database(postgres: str, *schemas: str) -> Iterator[list[str]]:
    """Yield a URL for each schema of a new database, with a role of its own. They lead through TLS."""
    roles = [f"app_{secrets.token_hex(8)}" for _ in schemas]
    try:
        with fresh_database(postgres) as url, Proxy(urlsplit(url).port or 0, tls="postgres") as proxy:
            yield [add_app(url, role, schema, proxy.port) for role, schema in zip(roles, schemas, strict=True)]
    finally:
        with psycopg.connect(postgres, autocommit=True) as admin:
            for role in roles:
                admin.execute(f"DROP ROLE IF EXISTS {role}")


def add_app(database: str, role: str, schema: str, port: int) -> str:
    """Add a role with its schema to a database. Return the role's URL at this port."""
    password = secrets.token_hex(8)
    with psycopg.connect(database, autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{password}' CONNECTION LIMIT {CONNECTIONS}")
        for name, value in SETTINGS.items():
            admin.execute(f"ALTER ROLE {role} SET {name} = '{value}'")
        admin.execute(f'CREATE SCHEMA "{schema}" AUTHORIZATION {role}')
    options = quote(f'-csearch_path="{schema}"'.replace(" ", "\\ "))
    return f"postgresql://{role}:{password}@{HOST}:{port}{urlsplit(database).path}?sslmode=require&options={options}"
