"""What is SQLite's alone: reads that never suspend, group commit, turns between processes, the log, a full disk."""

from __future__ import annotations

import asyncio
import contextvars
import fcntl
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from cargohold.db import sqlite_connection, sqlite_writer
from cargohold.db.connect import file_of
from cargohold.db.query import Query, insert
from cargohold.db.sqlite import SqliteDatabase, network_mount
from cargohold.db.tables import meta
from cargohold.db.unit import Deadlines
from cargohold.db.work import Reader, Work
from cargohold.errors import CargoholdError, StorageFull, TooSlow, Unavailable
from tests.db import statements as st

FILL = Query(insert(meta).values(key=sa.bindparam("key"), value=sa.func.hex(sa.func.zeroblob(sa.bindparam("size", type_=sa.Integer)))))


def pragma(text: str) -> Query[Any]:
    return Query(sa.text(f"PRAGMA {text}").columns(sa.column("value", sa.Integer)))


@pytest.fixture
def path(sqlite_template: Path, data_folder: Path) -> Path:
    target = file_of(data_folder)
    target.parent.mkdir()
    target.write_bytes(file_of(sqlite_template).read_bytes())
    return target


@pytest.fixture
async def database(path: Path) -> AsyncIterator[SqliteDatabase]:
    opened = SqliteDatabase(path, deadlines=Deadlines(read=1.0, unit=1.0))
    yield opened
    await opened.aclose()


def read_inline(database: SqliteDatabase, key: str) -> str | None:
    """What the protocol class does: no loop takes part."""
    coroutine: Any = database.now.one(st.VALUE, key=key)
    with pytest.raises(StopIteration) as stop:
        coroutine.send(None)
    found: str | None = stop.value.value
    return found


async def test_now_answers_without_suspending(database: SqliteDatabase) -> None:
    await database.write(st.put, "a", "1")
    assert read_inline(database, "a") == "1"
    assert read_inline(database, "b") is None


async def test_now_refuses_to_run_in_a_unit(database: SqliteDatabase) -> None:
    """It would read past the unit, and race with the loop for one connection."""

    async def unit(work: Work) -> list[str]:
        return await database.now.all(st.NAMES)

    with pytest.raises(Exception, match="thread"):
        await database.write(unit)
    assert await database.now.all(st.NAMES) == []


async def test_a_reader_that_writes_is_a_bug(database: SqliteDatabase) -> None:
    for way in (database.now.one, lambda *_, **binds: database.read(lambda reader: reader.one(st.ADD, **binds))):
        with pytest.raises(Exception, match="readonly") as caught:
            await way(st.ADD, name="a", created_at=st.NOW)
        assert not isinstance(caught.value, CargoholdError)
    assert await database.now.all(st.NAMES) == []


async def test_a_damaged_file_is_named(path: Path) -> None:
    path.write_bytes(b"not a database" * 1000)
    with pytest.raises(Unavailable, match="damaged"):
        SqliteDatabase(path)
    with pytest.raises(Unavailable, match="damaged"):
        sqlite_connection.revision(path)


async def test_units_that_wait_share_a_commit(database: SqliteDatabase) -> None:
    changes = pragma("data_version")
    before = await database.now.one(changes)
    await asyncio.gather(*(database.write(st.count, "n") for _ in range(sqlite_writer._GROUP)))
    after = await database.now.one(changes)
    assert await database.now.one(st.VALUE, key="n") == str(sqlite_writer._GROUP)
    assert int(after or 0) - int(before or 0) <= sqlite_writer._GROUP / 4  # one per commit of another connection


async def test_only_notes_are_committed_without_a_sync(database: SqliteDatabase) -> None:
    level = pragma("synchronous")

    async def seen(work: Work) -> int | None:
        return await work.one(level)

    full, normal = 2, 1
    assert await database.write(seen) == full
    assert await database.note(seen) == normal
    answers = await asyncio.gather(
        database.note(seen), database.write(seen), database.note(seen), database.note(seen), database.write(seen)
    )
    assert answers[1] == answers[4] == full
    assert await database.write(seen) == full


async def test_the_setting_normal_is_for_all(path: Path) -> None:
    database = SqliteDatabase(path, synchronous="normal")
    assert await database.write(lambda work: work.one(pragma("synchronous"))) == 1
    await database.aclose()


async def test_a_full_disk_hurts_nobody_else(database: SqliteDatabase) -> None:
    """SQLite may end the whole transaction: the neighbours run again, the one that filled it is told."""

    async def fill(work: Work) -> None:
        pages = await work.one(pragma("page_count"))
        await work.one(pragma(f"max_page_count = {(pages or 0) + 8}"))
        await work.run(FILL, key="big", size=1 << 20)

    answers = await asyncio.gather(
        *(database.write(st.add, f"a{number}") for number in range(5)),
        database.write(fill),
        *(database.write(st.add, f"b{number}") for number in range(5)),
        return_exceptions=True,
    )
    assert isinstance(answers[5], StorageFull)
    assert all(isinstance(answer, int) for answer in answers[:5] + answers[6:])
    assert len(await database.now.all(st.NAMES)) == len(await database.now.all(st.EVENTS)) == 10


async def test_a_lost_transaction_is_run_again_once(database: SqliteDatabase) -> None:
    runs: list[str] = []

    async def good(work: Work, name: str) -> int:
        runs.append(name)
        return await st.put(work, name, "1")

    async def killer(work: Work) -> None:
        await work.run(Query(sa.text("ROLLBACK")))

    answers = await asyncio.gather(
        database.write(good, "a"), database.write(killer), database.write(good, "b"), database.write(killer), return_exceptions=True
    )
    assert answers[0] == answers[2] == 1
    assert isinstance(answers[1], Exception)
    assert isinstance(answers[3], Exception)
    assert await database.now.all(st.VALUES) == [("a", "1"), ("b", "1")]
    assert len(runs) <= 4


async def test_a_lock_of_a_foreign_tool_is_unavailable_not_a_hang(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_connection, "_BUSY", 0.1)
    database = SqliteDatabase(path)
    foreign = sa.create_engine(f"sqlite:///{path}", poolclass=sa.NullPool).connect()
    foreign.exec_driver_sql("INSERT INTO meta (key, value) VALUES ('foreign', '')")
    answers = await asyncio.gather(*(database.write(st.put, str(number), "1") for number in range(20)), return_exceptions=True)
    assert all(isinstance(answer, Unavailable) for answer in answers)
    foreign.rollback()
    foreign.close()
    assert await database.write(st.put, "a", "1") == 1
    assert await database.now.all(st.VALUES) == [("a", "1")]
    await database.aclose()


async def test_processes_take_turns(database: SqliteDatabase, path: Path) -> None:
    with path.with_name("cargohold.db.lock").open() as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        unit = asyncio.ensure_future(database.write(st.put, "a", "1"))
        await asyncio.sleep(0.05)
        assert not unit.done()
        assert await database.now.one(st.VALUE, key="a") is None
    assert await unit == 1


async def test_context_of_the_caller_is_that_of_the_unit(database: SqliteDatabase) -> None:
    request: contextvars.ContextVar[str] = contextvars.ContextVar("request")
    request.set("r1")

    async def unit(reader: Reader) -> str:
        return request.get()

    assert await database.write(unit) == "r1"
    assert await database.read(unit) == "r1"


async def test_nothing_is_left_open(path: Path) -> None:
    threads, files = threading.active_count(), len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        database = SqliteDatabase(path)
        await asyncio.gather(*(database.read(st.names) for _ in range(10)), *(database.write(st.count, "n") for _ in range(10)))
        await database.aclose()
    assert threading.active_count() == threads
    assert len(os.listdir("/proc/self/fd")) == files
    assert not path.with_name("cargohold.db-wal").exists(), "the last one out folds the log"


async def test_closing_stops_what_reads(database: SqliteDatabase) -> None:
    reading = asyncio.ensure_future(database.read(lambda reader: reader.one(st.FOREVER)))
    await asyncio.sleep(0.05)
    started = asyncio.get_running_loop().time()
    await database.aclose()
    assert asyncio.get_running_loop().time() - started < 0.5
    with pytest.raises(TooSlow):
        await reading


async def test_more_snapshots_than_threads_take_turns(database: SqliteDatabase) -> None:
    assert await asyncio.gather(*(database.read(st.names) for _ in range(40))) == [[]] * 40


async def test_the_log_is_folded_when_nobody_writes(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_writer, "_IDLE", 0.05)
    database = SqliteDatabase(path)
    log = path.with_name("cargohold.db-wal")
    await database.write(lambda work: work.run(FILL, key="big", size=1 << 16))
    for _ in range(200):
        if log.stat().st_size == 0:
            break
        await asyncio.sleep(0.01)
    assert log.stat().st_size == 0
    await database.aclose()


def test_a_killed_process_keeps_what_it_acknowledged(path: Path) -> None:
    """`write` and `note` both: only a power loss may take the notes."""
    script = (
        "import asyncio, os, sys, pathlib\n"
        "from cargohold.db.sqlite import SqliteDatabase, network_mount\n"
        "from tests.db import statements as st\n"
        "async def main():\n"
        "    database = SqliteDatabase(pathlib.Path(sys.argv[1]))\n"
        "    await database.write(st.put, 'written', '1')\n"
        "    await database.note(st.put, 'noted', '1')\n"
        "    os.kill(os.getpid(), 9)\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], cwd=Path(__file__).parents[2], check=False)
    assert done.returncode == -9

    async def found() -> list[tuple[str, str]]:
        database = SqliteDatabase(path)
        try:
            return await database.now.all(st.VALUES)
        finally:
            await database.aclose()

    assert asyncio.run(found()) == [("noted", "1"), ("written", "1")]


async def test_a_path_that_cannot_be_opened_is_unavailable(data_folder: Path) -> None:
    with pytest.raises(Unavailable):
        SqliteDatabase(data_folder / "missing" / "x.db")


def test_a_network_mount_is_recognised(tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "22 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw\n"
        "30 22 0:40 / /srv rw - nfs4 server:/export rw\n"
        "31 30 8:2 / /srv/local\\040disk rw shared:2 master:1 - xfs /dev/sdb rw\n"
    )
    assert network_mount(Path("/srv/registry"), mounts) == "nfs4"
    assert network_mount(Path("/srv/local disk/registry"), mounts) is None
    assert network_mount(Path("/srvother"), mounts) is None
    assert network_mount(Path("/srv"), tmp_path / "missing") is None
