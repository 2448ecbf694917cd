"""Migrate the schema with Alembic, at the first use of a database whose schema is not at HEAD.

Old and new code run side by side during a deploy. So a migration only adds tables and columns (it may replace an index), and
code never touches a schema that is newer than itself.
"""

import logging
from pathlib import Path

import sqlalchemy as sa

HEAD = "0012"  # the newest revision in versions/; a newer one sorts behind it

logger = logging.getLogger("jobqueue.migrations")


def version(connection: sa.Connection) -> str | None:
    """Return the database's revision, or None for an empty database."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    return connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()


def upgrade(connection: sa.Connection) -> None:
    """Migrate the schema to HEAD. The caller holds a transaction and the migration lock."""
    from alembic.config import Config
    from alembic.runtime.environment import EnvironmentContext
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    scripts = ScriptDirectory.from_config(config)

    def to_head(revision: object, _context: object) -> object:
        return scripts._upgrade_revs(HEAD, revision)  # type: ignore[arg-type]

    with EnvironmentContext(config, scripts, fn=to_head) as environment:
        environment.configure(connection=connection, transactional_ddl=True)
        environment.run_migrations()
    logger.info("The ledger's schema is now at %s.", HEAD)
