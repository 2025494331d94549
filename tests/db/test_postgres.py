"""What is PostgreSQL's alone: the pool, lost connections, lost races, prepared statements, errors that only a server has."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
import uvloop
from sqlalchemy import bindparam

from cargohold.db.postgres import PostgresDatabase
from cargohold.db.postgres_connection import open_plain
from cargohold.db.query import Query
from cargohold.db.tables import meta
from cargohold.db.unit import Deadlines
from cargohold.db.work import Work
from cargohold.errors import StorageFull, Unavailable
from tests import postgres
from tests.db import statements as st

POOL = 3
LOCKING: Query[str] = Query(sa.select(meta.c.value).where(meta.c.key == bindparam("key")).with_for_update())
BACKEND: Query[int] = Query(sa.select(sa.func.pg_backend_pid()))
PREPARED: Query[int] = Query(sa.text("SELECT count(*) AS n FROM pg_prepared_statements").columns(sa.column("n", sa.Integer)))


@pytest.fixture
def url(postgres_server: postgres.Server) -> Iterator[str]:
    name = postgres_server.create("cargohold_template")
    yield postgres_server.url(name)
    postgres_server.drop(name)


@pytest.fixture
async def database(url: str) -> AsyncIterator[PostgresDatabase]:
    opened = PostgresDatabase(url, pool=POOL, deadlines=Deadlines(read=2.0, unit=2.0, wait=0.3))
    yield opened
    await opened.aclose()


def sleep(seconds: float) -> Query[Any]:
    return Query(sa.text(f"SELECT pg_sleep({seconds}) IS NULL AS done").columns(sa.column("done", sa.Boolean)))


def kill_backends(url: str) -> None:
    """As a restart of the server does it."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


async def test_the_last_connection_given_back_is_taken_first(database: PostgresDatabase) -> None:
    first = await database.now.one(BACKEND)
    await asyncio.gather(*(database.now.one(sleep(0.05)) for _ in range(POOL)))
    last = await database.now.one(BACKEND)
    assert [await database.now.one(BACKEND) for _ in range(5)] == [last] * 5
    assert first is not None


async def test_a_pool_that_stays_taken_is_unavailable(database: PostgresDatabase) -> None:
    taken = [asyncio.ensure_future(database.now.one(sleep(0.8))) for _ in range(POOL)]
    await asyncio.sleep(0.1)
    with pytest.raises(Unavailable, match="taken"):
        await database.now.all(st.NAMES)
    await asyncio.gather(*taken)
    assert await database.now.all(st.NAMES) == []


async def test_those_who_wait_are_served(database: PostgresDatabase) -> None:
    assert await asyncio.gather(*(database.now.one(sleep(0.01)) for _ in range(POOL * 8))) == [False] * POOL * 8


async def test_a_waiter_that_is_cancelled_keeps_no_connection(database: PostgresDatabase) -> None:
    for delay in (0.0, 0.02, 0.04, 0.05, 0.06):
        busy = [asyncio.ensure_future(database.now.one(sleep(0.05))) for _ in range(POOL)]
        await asyncio.sleep(0)
        waiting = [asyncio.ensure_future(database.now.all(st.NAMES)) for _ in range(6)]
        await asyncio.sleep(delay)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*busy, *waiting, return_exceptions=True)
    assert await asyncio.gather(*(database.now.one(sleep(0.01)) for _ in range(POOL * 2))) == [False] * POOL * 2
    assert len({await database.now.one(BACKEND) for _ in range(POOL)}) <= POOL


async def test_a_cancelled_unit_is_rolled_back(database: PostgresDatabase, url: str) -> None:
    started = asyncio.Event()

    async def unit(work: Work) -> None:
        await st.put(work, "a", "1")
        started.set()
        await work.one(sleep(30))

    task = asyncio.ensure_future(database.write(unit))
    await started.wait()
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await database.write(st.put, "a", "2") == 1
    assert await database.now.all(st.VALUES) == [("a", "2")]


async def test_lost_connections_are_replaced(database: PostgresDatabase, url: str) -> None:
    await asyncio.gather(*(database.now.one(sleep(0.02)) for _ in range(POOL)))
    kill_backends(url)
    assert await asyncio.gather(*(database.now.all(st.NAMES) for _ in range(POOL * 3))) == [[]] * POOL * 3
    kill_backends(url)
    assert await asyncio.gather(*(database.write(st.put, str(number), "1") for number in range(POOL * 3))) == [1] * POOL * 3
    kill_backends(url)
    assert await database.read(st.names) == []


async def test_a_unit_that_loses_its_connection_runs_again(database: PostgresDatabase, url: str) -> None:
    runs = 0

    async def unit(work: Work) -> None:
        nonlocal runs
        runs += 1
        await st.count(work, "n")
        if runs == 1:
            kill_backends(url)
        await st.count(work, "n")

    await database.write(unit)
    assert runs == 2
    assert await database.now.one(st.VALUE, key="n") == "2"


async def test_a_unit_whose_commit_is_lost_is_not_repeated(database: PostgresDatabase, url: str) -> None:
    runs = 0

    async def unit(work: Work) -> None:
        nonlocal runs
        runs += 1
        await st.count(work, "n")
        kill_backends(url)

    with pytest.raises(Unavailable, match="unknown"):
        await database.write(unit)
    assert runs == 1


async def test_a_deadlock_is_run_again(database: PostgresDatabase) -> None:
    await database.write(st.put, "a", "0")
    await database.write(st.put, "b", "0")
    met = asyncio.Barrier(2)
    runs = 0

    async def both(work: Work, first: str, second: str) -> None:
        nonlocal runs
        runs += 1
        await st.count(work, first)
        await work.one(sleep(0.1))
        await st.count(work, second)

    async def meeting(first: str, second: str) -> None:
        await met.wait()
        await database.write(both, first, second)

    await asyncio.gather(meeting("a", "b"), meeting("b", "a"))
    assert runs > 2
    assert await database.now.all(st.VALUES) == [("a", "2"), ("b", "2")]


async def test_a_lost_race_is_given_up_in_the_end(database: PostgresDatabase) -> None:
    runs = 0

    async def unit(work: Work) -> None:
        nonlocal runs
        runs += 1
        await work.run(raising("40001"))

    with pytest.raises(Unavailable, match="same time"):
        await database.write(unit)
    assert runs == 3


def raising(state: str) -> Query[Any]:
    return Query(sa.text(f"DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '{state}'; END $$"))


@pytest.mark.parametrize(
    ("state", "meaning"), [("53100", StorageFull), ("53300", Unavailable), ("25006", Unavailable), ("22012", psycopg.errors.DivisionByZero)]
)
async def test_errors_of_the_server(database: PostgresDatabase, state: str, meaning: type[Exception]) -> None:
    with pytest.raises(meaning):
        await database.write(lambda work: work.run(raising(state)))
    assert await database.write(st.put, "a", "1") == 1


async def test_a_rolled_back_unit_keeps_prepared_statements(database: PostgresDatabase) -> None:
    async def unit(work: Work) -> None:
        await st.put(work, "a", "1")
        raise ValueError

    await database.write(st.put, "b", "1")
    before = await database.now.one(PREPARED)
    with pytest.raises(ValueError):
        await database.write(unit)
    await database.write(st.put, "b", "2")
    assert (await database.now.one(PREPARED) or 0) - (before or 0) <= 1  # PREPARED itself


async def test_only_notes_are_committed_without_a_sync(database: PostgresDatabase) -> None:
    level: Query[str] = Query(sa.select(sa.func.current_setting("synchronous_commit")))
    outside = await database.now.one(level)

    async def seen(work: Work) -> str | None:
        return await work.one(level)

    assert await database.write(seen) == outside
    assert await database.note(seen) == "off"
    assert await database.write(seen) == outside


async def test_numbers_of_any_size_share_a_prepared_statement(database: PostgresDatabase) -> None:
    query: Query[str] = Query(sa.select(meta.c.value).where(sa.func.length(meta.c.key) == bindparam("n", type_=sa.BigInteger)))
    for number in (1, 1 << 20, 1 << 40):
        await database.now.all(query, n=number)
    assert (await database.now.one(PREPARED) or 0) <= 2


async def test_rows_can_be_locked(database: PostgresDatabase) -> None:
    """The way a unit reads, decides and writes on both engines; SQLite's compiler drops FOR UPDATE."""
    await database.write(st.put, "n", "0")

    async def increment(work: Work) -> None:
        value = await work.one(LOCKING, key="n")
        await st.put(work, "n", str(int(value or 0) + 1))

    await asyncio.gather(*(database.write(increment) for _ in range(20)))
    assert await database.now.one(st.VALUE, key="n") == "20"


async def test_a_server_that_is_away_is_unavailable_until_it_comes(tmp_path: Path, url: str, postgres_server: postgres.Server) -> None:
    link = tmp_path / "s"
    database = PostgresDatabase(url.replace(str(postgres_server.folder), str(link)), pool=2)
    with pytest.raises(Unavailable, match="cannot be reached"):
        await database.ready()
    with pytest.raises(Unavailable):
        await database.write(st.put, "a", "1")
    link.symlink_to(postgres_server.folder)
    await database.ready()
    assert await database.write(st.put, "a", "1") == 1
    await database.aclose()


def test_a_url_that_cannot_be_read_does_not_give_its_password_away() -> None:
    with pytest.raises(Unavailable) as refused:
        open_plain("postgresql://cargohold:wonderland@[::1/registry")
    assert "IPv6" in str(refused.value) and "wonderland" not in str(refused.value)


def test_it_runs_on_uvloop(url: str) -> None:
    async def main() -> list[Any]:
        database = PostgresDatabase(url, pool=2)
        await asyncio.gather(*(database.write(st.count, "n") for _ in range(10)))
        found = await database.now.all(st.VALUES)
        await database.aclose()
        return found

    assert uvloop.run(main()) == [("n", "10")]
