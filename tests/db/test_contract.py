"""What `Reader`, `Work` and `Database` promise, on both engines: every test here runs on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from sqlalchemy import bindparam

from cargohold.config.settings import Database as DatabaseSettings
from cargohold.db.connect import connect
from cargohold.db.query import Query, in_list, insert
from cargohold.db.tables import blobs, manifests, meta, repositories, repository_blobs
from cargohold.db.unit import Deadlines
from cargohold.db.work import Database, ForeignKeyViolation, Reader, UniqueViolation, Work
from cargohold.errors import TooSlow, Unavailable
from cargohold.names import Digest
from tests.conftest import NewDatabase
from tests.db import statements as st

ROOT = Path(__file__).parents[2]


@pytest.fixture
async def hasty(database_settings: DatabaseSettings, data_folder: Path) -> AsyncIterator[Database]:
    """A database whose deadlines are short."""
    opened = await connect(database_settings, data_folder, deadlines=Deadlines(statement=0.05, read=0.2, unit=0.2, wait=0.2))
    yield opened
    await opened.aclose()


async def test_it_says_what_it_is(database: Database, engine: str) -> None:
    assert database.dialect == engine
    assert database.inline == (engine == "sqlite")


async def test_a_write_is_read_at_once(database: Database) -> None:
    number = await database.write(st.add, "team/app")
    assert await database.now.one(st.GET, name="team/app") == st.Repository(number, "team/app", st.NOW)
    assert await database.now.one(st.GET, name="other") is None
    assert await database.read(st.names) == ["team/app"]


async def test_a_note_is_read_at_once(database: Database) -> None:
    assert await database.note(st.put, "a", "1") == 1
    assert await database.write(st.put, "b", "2") == 1
    assert await database.note(st.put, "a", "3") == 1
    assert await database.now.all(st.VALUES) == [("a", "3"), ("b", "2")]


async def test_a_unit_reads_its_own_writes(database: Database) -> None:
    async def unit(work: Work, *, name: str) -> st.Repository | None:
        await st.add(work, name)
        return await work.one(st.GET, name=name)

    found = await database.write(unit, name="a")
    assert found is not None
    assert found.name == "a"


async def test_a_unit_that_fails_leaves_nothing(database: Database) -> None:
    async def unit(work: Work) -> None:
        await st.add(work, "a")
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await database.write(unit)
    assert await database.now.all(st.NAMES) == []
    assert await database.now.all(st.EVENTS) == []


async def test_events_are_rows_of_the_same_unit(database: Database) -> None:
    async def unit(work: Work) -> None:
        work.emit(st.Written("a"))
        work.emit(st.Untagged("b"))

    await database.write(unit)
    assert await database.now.all(st.EVENTS) == [("test.written", '{"type":"test.written","name":"a"}'), ("Untagged", '{"name":"b"}')]


async def test_run_tells_the_rows_touched(database: Database) -> None:
    async def unit(work: Work) -> list[int]:
        touched = [await work.run(st.SET, key=key, value="1") for key in ("a", "b")]
        touched.append(await work.run(st.KEEP, key="a", value="2"))
        touched.append(await work.run(st.SET, key="a", value="3"))
        gone = sa.delete(meta).where(meta.c.key.in_(sa.select(meta.c.key).cte("old").select()))
        touched.append(await work.run(Query(gone)))
        touched.append(await work.run(st.DROP, key="a"))
        return touched

    assert await database.write(unit) == [1, 1, 0, 1, 2, 0]


async def test_returning_is_drained(database: Database) -> None:
    """Rows that nobody looks at hold no lock: two units and a reader follow."""
    several: Query[str] = Query(sa.update(meta).values(value="x").returning(meta.c.key))

    async def unit(work: Work) -> tuple[list[str], int]:
        await st.put(work, "a", "1")
        await st.put(work, "b", "1")
        return sorted(await work.all(several)), await work.run(several)

    assert await database.write(unit) == (["a", "b"], 2)
    await database.write(st.put, "c", "1")
    assert len(await database.now.all(st.VALUES)) == 3


async def test_a_unique_violation_names_table_and_columns(database: Database) -> None:
    await database.write(st.add, "a")
    with pytest.raises(UniqueViolation) as caught:
        await database.write(st.add, "a")
    assert caught.value.table == "repositories"
    assert caught.value.columns in (frozenset({"name"}), frozenset({"path_key"}))
    two: Query[Any] = Query(insert(meta).values(key=bindparam("key"), value=""))

    async def unit(work: Work) -> None:
        await work.run(two, key="k")
        await work.run(two, key="k")

    with pytest.raises(UniqueViolation) as caught:
        await database.write(unit)
    assert caught.value.table == "meta"
    assert caught.value.columns == frozenset({"key"})


async def test_a_key_of_two_columns_is_named_whole(database: Database) -> None:
    async def unit(work: Work) -> None:
        one = await st.add(work, "a")
        for _ in range(2):
            await work.run(
                Query(insert(manifests).values(repository_id=one, digest=Digest.of(b""), media_type="", size=0, pushed_at=st.NOW, body=b""))
            )

    with pytest.raises(UniqueViolation) as caught:
        await database.write(unit)
    assert caught.value.table == "manifests"
    assert caught.value.columns == frozenset({"repository_id", "digest"})


async def test_a_row_that_names_a_missing_one_is_refused(database: Database) -> None:
    link = Query(insert(repository_blobs).values(repository_id=1, blob_id=1))
    with pytest.raises(ForeignKeyViolation):
        await database.write(lambda work: work.run(link))


async def test_an_error_ends_the_unit_even_when_swallowed(database: Database) -> None:
    refusals: list[Exception] = []

    async def unit(work: Work) -> str:
        await st.put(work, "before", "1")
        await st.add(work, "a")
        with contextlib.suppress(UniqueViolation):
            await st.add(work, "a")
        for step in (lambda: st.put(work, "after", "1"), lambda: work.all(st.NAMES), lambda: emit(work)):
            try:
                await step()
            except RuntimeError as error:
                refusals.append(error)
        return "done"

    async def emit(work: Work) -> None:
        work.emit(st.Written("x"))

    with pytest.raises(UniqueViolation):
        await database.write(unit)
    assert len(refusals) == 3
    assert await database.now.all(st.VALUES) == []


async def test_a_work_is_over_with_its_unit(database: Database) -> None:
    async def unit(work: Work) -> Work:
        return work

    kept = await database.write(unit)
    with pytest.raises(RuntimeError, match="over"):
        await kept.all(st.NAMES)


async def test_a_poisoned_unit_does_not_hurt_its_neighbours(database: Database) -> None:
    async def poison(work: Work) -> None:
        await st.put(work, "poison", "1")
        await st.add(work, "taken")

    await database.write(st.add, "taken")
    units: list[Any] = [database.write(poison) if number % 5 == 3 else database.write(st.put, f"{number:02}", "1") for number in range(40)]
    answers = await asyncio.gather(*units, return_exceptions=True)
    assert [isinstance(answer, UniqueViolation) for answer in answers] == [number % 5 == 3 for number in range(40)]
    assert [key for key, _ in await database.now.all(st.VALUES)] == [f"{number:02}" for number in range(40) if number % 5 != 3]


async def test_increments_side_by_side_are_all_counted(database: Database) -> None:
    await asyncio.gather(*(database.write(st.count, "n") if number % 3 else database.note(st.count, "n") for number in range(60)))
    assert await database.now.one(st.VALUE, key="n") == "60"


async def test_upsert_keeps_or_changes(database: Database) -> None:
    async def unit(work: Work) -> tuple[int, int, str | None]:
        await work.run(st.SET, key="a", value="1")
        kept = await work.run(st.KEEP, key="a", value="2")
        changed = await work.run(st.SET, key="a", value="3")
        return kept, changed, await work.one(st.VALUE, key="a")

    assert await database.write(unit) == (0, 1, "3")


async def test_a_list_is_one_bind(database: Database) -> None:
    for name in ("a", "b", "c'\""):
        await database.write(st.add, name)
    assert await database.now.all(st.AMONG, names=["c'\"", "a", "missing"]) == ["a", "c'\""]
    assert await database.now.all(st.AMONG, names=[]) == []
    assert await database.now.all(st.AMONG, names={f"n{number}" for number in range(40_000)} | {"b"}) == ["b"]
    numbers: Query[str] = Query(sa.select(repositories.c.name).where(~in_list(repositories.c.id, "ids")))
    ids = [row.id for row in [await database.now.one(st.GET, name=name) for name in ("a", "b")] if row]
    assert await database.now.all(numbers, ids=ids) == ["c'\""]


async def test_types_come_back_as_they_went(database: Database) -> None:
    class Manifest(msgspec.Struct, frozen=True):
        digest: Digest
        annotations: dict[str, Any] | None
        subject: Digest | None
        size: int
        body: bytes
        tagged: bool

    columns = [getattr(manifests.c, name) for name in ("digest", "annotations", "subject", "size", "body")]
    store = Query(
        insert(manifests).values(
            {column.name: bindparam(column.name) for column in columns} | {"repository_id": 1, "media_type": "", "pushed_at": st.NOW}
        )
    )
    fetch = Query(
        sa.select(*columns, (manifests.c.artifact_type.is_not(None)).label("tagged")).where(manifests.c.digest == bindparam("digest")),
        Manifest,
    )
    rows = [
        Manifest(Digest.of(b"a"), None, None, 0, b"", False),
        Manifest(Digest.of(b"b", "sha512"), {"é": [1, None, "\x00"]}, Digest.of(b"c", "sha384"), 1 << 62, bytes(range(256)), False),
    ]

    async def unit(work: Work) -> None:
        await work.run(Query(insert(repositories).values(id=1, name="a", path_key="a", created_at=st.NOW)))
        for row in rows:
            given = msgspec.structs.asdict(row)
            del given["tagged"]
            assert await work.run(store, **given) == 1

    await database.write(unit)
    for row in rows:
        assert await database.now.one(fetch, digest=row.digest) == row


async def test_a_sum_is_a_whole_number(database: Database) -> None:
    total: Query[int] = Query(sa.select(sa.func.coalesce(sa.func.sum(blobs.c.size), 0)))
    assert await database.now.one(total) == 0
    add = Query(insert(blobs).values(digest=bindparam("digest"), size=bindparam("size"), mark=0, leased_until=st.NOW, created_at=st.NOW))

    async def unit(work: Work) -> None:
        for name, size in ((b"a", 1 << 61), (b"b", 1 << 61), (b"c", 5)):
            await work.run(add, digest=Digest.of(name), size=size)

    await database.write(unit)
    found = await database.now.one(total)
    assert type(found) is int
    assert found == (1 << 62) + 5


async def test_names_are_in_the_order_of_their_bytes(database: Database) -> None:
    given = ["a-b", "a/b", "a.b", "a_b", "ab", "a", "z", "a0"]
    for name in given:
        await database.write(st.add, name)
    assert await database.now.all(st.NAMES) == sorted(given)


async def test_read_sees_one_snapshot(database: Database) -> None:
    await database.write(st.put, "a", "1")
    began, written = threading.Event(), threading.Event()
    busy: Query[int] = Query(sa.select(sa.func.count()).select_from(st.numbers(20_000)))

    async def twice(reader: Reader) -> tuple[Any, Any]:
        first = await reader.all(st.VALUES)
        began.set()
        while not written.is_set():
            await reader.one(busy)
        return first, await reader.all(st.VALUES)

    reading = asyncio.ensure_future(database.read(twice))
    while not began.is_set():
        await asyncio.sleep(0.001)
    await database.write(st.put, "a", "2")
    assert await database.now.one(st.VALUE, key="a") == "2"
    written.set()
    assert await reading == ([("a", "1")], [("a", "1")])


@pytest.mark.parametrize("way", ["write", "note", "read"])
async def test_a_unit_awaits_nothing_else(database: Database, way: str) -> None:
    async def foreign(reader: Reader) -> None:
        await reader.all(st.VALUES)
        await asyncio.sleep(0.001)

    with pytest.raises(RuntimeError, match=r"something else|no running event loop"):
        await getattr(database, way)(foreign)
    await database.write(st.put, "a", "1")
    assert await database.now.one(st.VALUE, key="a") == "1"


async def test_a_statement_over_its_deadline_is_stopped(hasty: Database) -> None:
    async def forever(reader: Reader) -> int | None:
        return await reader.one(st.FOREVER)

    with pytest.raises(TooSlow):
        await hasty.now.one(st.FOREVER)
    with pytest.raises(TooSlow):
        await hasty.read(forever)
    with pytest.raises(TooSlow):
        await hasty.write(forever)
    await hasty.write(st.put, "a", "1")
    assert await hasty.now.one(st.VALUE, key="a") == "1"


async def test_a_slow_unit_does_not_take_its_neighbours_along(hasty: Database) -> None:
    async def slow(work: Work) -> None:
        await st.put(work, "slow", "1")
        await work.run(st.FOREVER_WRITING)

    answers = await asyncio.gather(
        *(hasty.write(st.put, f"a{number}", "1") for number in range(5)),
        hasty.write(slow),
        *(hasty.write(st.put, f"b{number}", "1") for number in range(5)),
        return_exceptions=True,
    )
    assert [answer for answer in answers if answer != 1] == [answers[5]]
    assert isinstance(answers[5], TooSlow)
    assert len(await hasty.now.all(st.VALUES)) == 10


async def test_a_cancelled_caller_leaves_the_database_well(database: Database) -> None:
    waiting = [asyncio.ensure_future(database.write(st.count, "n")) for _ in range(30)]
    reading = [asyncio.ensure_future(database.read(lambda reader: reader.one(st.FOREVER))) for _ in range(3)]
    await asyncio.sleep(0.02)
    for task in [*waiting[::2], *reading]:
        task.cancel()
    done = await asyncio.wait_for(asyncio.gather(*waiting, *reading, return_exceptions=True), 4)
    assert all(isinstance(answer, asyncio.CancelledError) for answer in done[30:])
    assert not [answer for answer in done[1:30:2] if isinstance(answer, BaseException)]
    await database.write(st.count, "n")
    found = await database.now.one(st.VALUE, key="n")
    assert found is not None
    assert 16 <= int(found) <= 31


async def test_a_unit_that_was_cancelled_before_its_turn_does_not_run(database: Database) -> None:
    task = asyncio.ensure_future(database.write(st.put, "a", "1"))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await database.now.all(st.VALUES) == []


async def test_closing_finishes_what_is_queued_and_refuses_more(database: Database) -> None:
    units = [asyncio.ensure_future(database.write(st.count, "n")) for _ in range(5)]
    await asyncio.sleep(0)
    await database.aclose()
    await database.aclose()
    answers = await asyncio.gather(*units, return_exceptions=True)
    assert all(answer is None or isinstance(answer, Unavailable) for answer in answers)
    assert None in answers
    with pytest.raises(Unavailable):
        await database.write(st.count, "n")


async def test_processes_write_side_by_side(new_database: NewDatabase, data_folder: Path) -> None:
    settings = new_database(data_folder)
    command = [sys.executable, "-m", "tests.db.counting", settings.url, str(data_folder), "150"]
    programs = [subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    assert ["".join(program.communicate(timeout=60)[1:]) for program in programs] == ["", "", ""]
    database = await connect(settings, data_folder)
    try:
        assert await database.now.one(st.VALUE, key="n") == "450"
    finally:
        await database.aclose()
