"""Brings a database to the tables of this version: a new one at once, an older one by migration."""

from pathlib import Path

from sqlalchemy import Column, Connection, MetaData, String, Table, insert, inspect, select

from adapters import tables

HEAD = "0007"  # the newest migration; a test holds it, and what a new database gets, to the folder

# Where Alembic keeps how far a database has come.
_progress = Table(
    "alembic_version", MetaData(), Column("version_num", String(32), primary_key=True)
)


def bring_to_head(connection: Connection) -> None:
    """Apply what is missing, if anything; other processes that start wait meanwhile."""
    _lock(connection)
    if not inspect(connection).has_table(_progress.name):
        _create(connection)
    elif connection.execute(select(_progress.c.version_num)).scalar() != HEAD:
        _migrate(connection)


def _lock(connection: Connection) -> None:
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    else:
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7461)")


def _create(connection: Connection) -> None:
    tables.metadata.create_all(connection)
    _progress.create(connection)
    connection.execute(insert(tables.revision).values(value=0))
    connection.execute(insert(_progress).values(version_num=HEAD))


def _migrate(connection: Connection) -> None:
    # Alembic takes 9 MB and 0.2 s, and is needed once per upgrade.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
