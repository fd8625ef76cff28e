"""The one door to the database: opens it, brings its schema up to date, and hands out transactions.

SQLite in WAL mode by default. A writing transaction takes the write lock at once (`BEGIN IMMEDIATE`), so two writers
wait for each other instead of failing halfway.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy
from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import DBAPIError

from .errors import DataFolderError

DATABASE_NAME = "fleet.db"
SCHEMA = "0001"
"""The newest of `migrations/versions`."""
_BUSY_MILLISECONDS = 15_000


class Database:
    """Transactions on the fleet's tables."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @classmethod
    def open(cls, data: Path) -> Database:
        """The database of a data folder, made where it is not there, its schema up to date.

        Raises:
            DataFolderError: the folder or the file cannot be used.
        """
        try:
            data.mkdir(parents=True, exist_ok=True)
            data.chmod(0o700)
        except OSError as error:
            raise DataFolderError(data, error.strerror or str(error)) from error
        path = data / DATABASE_NAME
        engine = sqlalchemy.create_engine(
            f"sqlite:///{path}", connect_args={"timeout": _BUSY_MILLISECONDS / 1000, "check_same_thread": False}
        )
        event.listen(engine, "connect", _prepare)
        event.listen(engine, "begin", _begin)
        database = cls(engine)
        try:
            with database.writing() as connection:
                _upgrade(connection)
        except DBAPIError as error:
            database.close()
            raise DataFolderError(path, str(error.orig)) from error
        return database

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that sees one moment of the database."""
        with self._engine.begin() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that may change it; undone whole where the block raises."""
        with self._engine.connect().execution_options(snapedge_writing=True) as connection, connection.begin():
            yield connection

    def close(self) -> None:
        """Give every connection back."""
        self._engine.dispose()


def _prepare(connection: Any, _record: Any) -> None:
    # SQLAlchemy's `begin` event, below, starts transactions; the driver's own way would not see BEGIN IMMEDIATE.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {_BUSY_MILLISECONDS}")
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = NORMAL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _begin(connection: Connection) -> None:
    is_writing = connection.get_execution_options().get("snapedge_writing", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if is_writing else "BEGIN")


def _upgrade(connection: Connection) -> None:
    if sqlalchemy.inspect(connection).has_table("alembic_version"):
        version = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
        if version == SCHEMA:
            return
    # Alembic takes half a second to load: only where there is something for it to do.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
