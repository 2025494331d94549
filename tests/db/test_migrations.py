"""The schema's history, on both engines: from nothing, from the revision before, two at once, killed in the middle."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.script import ScriptDirectory

from cargohold.config.settings import Database as DatabaseSettings
from cargohold.db import migrate, migrations
from cargohold.db.connect import connect, file_of
from cargohold.db.migrations import runner
from cargohold.db.tables import metadata
from cargohold.errors import Unavailable
from tests import postgres
from tests.db import statements as st

ROOT = Path(__file__).parents[2]
Facts = list[tuple[Any, ...]]


@pytest.fixture
def empty(engine: str, data_folder: Path, request: pytest.FixtureRequest) -> Iterator[DatabaseSettings]:
    """A database without a schema."""
    if engine == "sqlite":
        yield DatabaseSettings()
        return
    server: postgres.Server = request.getfixturevalue("postgres_server")
    name = server.create()
    yield DatabaseSettings(url=server.url(name))
    server.drop(name)


def sync_engine(settings: DatabaseSettings, folder: Path) -> sa.Engine:
    if settings.url:
        return sa.create_engine(settings.url.replace("postgresql:", "postgresql+psycopg:"), poolclass=sa.NullPool)
    file_of(folder).parent.mkdir(exist_ok=True)
    return sa.create_engine(f"sqlite:///{file_of(folder)}", poolclass=sa.NullPool)


def schema(settings: DatabaseSettings, folder: Path) -> dict[str, Facts]:
    """All that the engine knows of tables, keys and indexes, without the order in which constraints were written."""
    with sync_engine(settings, folder).connect() as connection:
        if settings.url:
            return {name: [tuple(row) for row in connection.execute(sa.text(question))] for name, question in CATALOG.items()}
        rows = connection.execute(sa.text("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name"))
        return {name: normalized(text) for name, text in rows if name not in ("alembic_version", "sqlite_sequence")}


CATALOG = {
    "columns": """
        SELECT c.relname, a.attname, a.attnum, format_type(a.atttypid, a.atttypmod), a.attnotnull, l.collname,
        pg_get_expr(d.adbin, d.adrelid)
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid LEFT JOIN pg_collation l ON l.oid = a.attcollation
        LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND a.attnum > 0
        AND c.relname <> 'alembic_version' ORDER BY 1, 3""",
    "constraints": """
        SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace AND conrelid <> 'alembic_version'::regclass ORDER BY 1, 2""",
    "indexes": "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename <> 'alembic_version' ORDER BY 1",
    "sequences": "SELECT sequencename, data_type::text FROM pg_sequences ORDER BY 1",
}


def normalized(text: str) -> Facts:
    """The columns of a CREATE statement in their order, then its constraints in any."""
    head, _, rest = " ".join(text.split()).partition("(")
    body, _, tail = rest.rpartition(")")
    parts = re.split(r", (?![^(]*\))", body.strip())
    named = [part for part in parts if part.startswith(("CONSTRAINT", "PRIMARY KEY", "UNIQUE", "FOREIGN KEY", "CHECK"))]
    return [
        (head.strip(), tail.strip()),
        *((part.strip(),) for part in parts if part not in named),
        *sorted((part.strip(),) for part in named),
    ]


def program(settings: DatabaseSettings, folder: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.db.migrating", settings.url, str(folder), *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_the_list_of_revisions_is_alembics() -> None:
    scripts = ScriptDirectory(str(Path(migrations.__file__).parent))
    assert [script.revision for script in scripts.walk_revisions()] == list(reversed(migrate.REVISIONS))
    assert scripts.get_heads() == [migrate.HEAD]


def test_from_nothing_to_the_tables_of_today(empty: DatabaseSettings, data_folder: Path, tmp_path: Path, engine: str) -> None:
    assert migrate.current(empty, data_folder) is None
    assert migrate.behind(empty, data_folder) == list(migrate.REVISIONS)
    assert migrate.upgrade(empty, data_folder) == list(migrate.REVISIONS)
    assert migrate.current(empty, data_folder) == migrate.HEAD
    assert migrate.upgrade(empty, data_folder) == []
    found = schema(empty, data_folder)
    # the same database again, made from tables/
    connecting = sync_engine(empty, data_folder)
    with connecting.begin() as connection:
        if engine == "postgresql":
            metadata.drop_all(connection)
    if engine == "sqlite":
        file_of(data_folder).unlink()
        connecting = sync_engine(empty, data_folder)
    with connecting.begin() as connection:
        metadata.create_all(connection)
    assert found == schema(empty, data_folder)
    assert len(found) >= 4


async def test_from_the_revision_before_with_its_rows(empty: DatabaseSettings, data_folder: Path) -> None:
    before = migrate.REVISIONS[-2]
    migrate.upgrade(empty, data_folder, before)
    assert migrate.current(empty, data_folder) == before
    database = await connect(empty, data_folder)
    await database.write(st.put, "a", "1")
    await database.aclose()
    assert migrate.behind(empty, data_folder) == [migrate.HEAD]
    assert migrate.upgrade(empty, data_folder) == [migrate.HEAD]
    database = await connect(empty, data_folder)
    try:
        assert await database.now.one(st.VALUE, key="a") == "1"
        await database.write(st.add, "team/app")
        assert len(await database.now.all(st.EVENTS)) == 1
    finally:
        await database.aclose()


def test_two_at_once(empty: DatabaseSettings, data_folder: Path) -> None:
    programs = [program(empty, data_folder, migrate.HEAD) for _ in range(3)]
    assert ["".join(one.communicate(timeout=60)[1:]) for one in programs] == ["", "", ""]
    assert migrate.current(empty, data_folder) == migrate.HEAD


@pytest.mark.parametrize(("start", "table"), [(None, "tags"), ("0001", "events")])
def test_a_kill_in_the_middle_leaves_nothing_half_done(
    empty: DatabaseSettings, data_folder: Path, start: str | None, table: str, engine: str
) -> None:
    if start:
        migrate.upgrade(empty, data_folder, start)
    victim = program(empty, data_folder, migrate.HEAD, table)
    assert victim.stdout is not None
    assert victim.stdout.readline() == "reached\n"
    victim.kill()
    victim.communicate()
    assert migrate.current(empty, data_folder) == start
    with sync_engine(empty, data_folder).connect() as connection:
        tables = set(sa.inspect(connection).get_table_names())
    assert ("tags" in tables) == bool(start)
    assert "events" not in tables
    migrate.upgrade(empty, data_folder)
    assert migrate.current(empty, data_folder) == migrate.HEAD
    assert "events" in {str(name) for name in _tables(empty, data_folder)}


def _tables(settings: DatabaseSettings, folder: Path) -> list[str]:
    with sync_engine(settings, folder).connect() as connection:
        return sa.inspect(connection).get_table_names()


def test_a_newer_database_is_refused(empty: DatabaseSettings, data_folder: Path) -> None:
    migrate.upgrade(empty, data_folder)
    with sync_engine(empty, data_folder).begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9001'"))
    for question in (migrate.behind, migrate.upgrade):
        with pytest.raises(migrate.SchemaTooNew, match="9001"):
            question(empty, data_folder)


def test_a_start_with_nothing_to_do_does_not_load_alembic(data_folder: Path) -> None:
    migrate.upgrade(DatabaseSettings(), data_folder)
    script = (
        "import sys, pathlib; from cargohold.db import migrate, connect; from cargohold.config.settings import Database;"
        "assert migrate.upgrade(Database(), pathlib.Path(sys.argv[1])) == [];"
        "sys.exit(' '.join({'alembic', 'psycopg', 'greenlet'} & sys.modules.keys()) or None)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(data_folder)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_server_that_is_away_is_named(data_folder: Path) -> None:
    with pytest.raises(Unavailable, match="cannot be reached"):
        migrate.upgrade(DatabaseSettings(url=f"postgresql://postgres@/x?host={data_folder}"), data_folder)


def test_rows_that_name_missing_ones_stop_a_migration(data_folder: Path) -> None:
    settings = DatabaseSettings()
    migrate.upgrade(settings, data_folder, "0001")
    with sync_engine(settings, data_folder).begin() as connection:
        connection.execute(sa.text("INSERT INTO repository_blobs (repository_id, blob_id) VALUES (1, 2)"))
    with pytest.raises(RuntimeError, match="name missing ones"):
        migrate.upgrade(settings, data_folder)
    assert migrate.current(settings, data_folder) == "0001"


def test_a_lock_on_a_table_is_waited_for_in_short_turns(postgres_server: postgres.Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "_LOCK_WAIT", "50ms")
    name = postgres_server.create()
    settings = DatabaseSettings(url=postgres_server.url(name))
    migrate.upgrade(settings, Path(), "0001")
    with sync_engine(settings, Path()).connect() as connection:
        connection.execute(sa.text("LOCK TABLE alembic_version IN SHARE MODE"))
        ending = threading.Timer(0.4, connection.rollback)
        ending.start()
        assert migrate.upgrade(settings, Path()) == ["0002"]
        ending.join()
    postgres_server.drop(name)


async def test_the_file_can_shrink(data_folder: Path) -> None:
    migrate.upgrade(DatabaseSettings(), data_folder)
    with sync_engine(DatabaseSettings(), data_folder).connect() as connection:
        assert connection.execute(sa.text("PRAGMA auto_vacuum")).scalar() == 2
        assert connection.execute(sa.text("PRAGMA journal_mode")).scalar() == "wal"
