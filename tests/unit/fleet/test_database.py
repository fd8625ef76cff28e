from __future__ import annotations

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import func, insert, select
from sqlalchemy.exc import IntegrityError

from snapedge_fleet import database, tables
from snapedge_fleet.database import Database
from snapedge_fleet.errors import DataFolderError


def test_the_migrations_make_the_tables_that_the_code_uses(tmp_path: Path) -> None:
    opened = Database.open(tmp_path)
    with opened.reading() as connection:
        assert compare_metadata(MigrationContext.configure(connection), tables.metadata) == []
    opened.close()


def test_the_schema_named_is_the_newest() -> None:
    folder = Path(database.__file__).parent / "migrations"
    assert ScriptDirectory(str(folder)).get_current_head() == database.SCHEMA


def insert_twice(opened: Database) -> None:
    with opened.writing() as connection:
        for _ in range(2):
            connection.execute(insert(tables.meta).values(key="epoch", value="1"))


def test_what_a_block_did_before_it_raised_is_undone(tmp_path: Path) -> None:
    opened = Database.open(tmp_path)
    with pytest.raises(IntegrityError):
        insert_twice(opened)
    with opened.reading() as connection:
        assert connection.execute(select(func.count()).select_from(tables.meta)).scalar() == 0
    opened.close()


def test_what_was_written_is_there_when_it_is_opened_again(tmp_path: Path) -> None:
    first = Database.open(tmp_path)
    with first.writing() as connection:
        connection.execute(insert(tables.meta).values(key="epoch", value="7"))
    first.close()
    second = Database.open(tmp_path)
    with second.reading() as connection:
        assert connection.execute(select(tables.meta.c.value)).scalar() == "7"
    second.close()


def test_a_file_that_is_no_database_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "fleet.db").write_bytes(b"not a database at all, but long enough to be read as one" * 20)
    with pytest.raises(DataFolderError, match="file is not a database"):
        Database.open(tmp_path)


def test_the_folder_is_its_owners_alone(tmp_path: Path) -> None:
    Database.open(tmp_path / "data").close()
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700
