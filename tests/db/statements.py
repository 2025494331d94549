"""Statements that several tests of db/ use."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy import bindparam

from cargohold.db.query import Query, in_list, insert, upsert
from cargohold.db.tables import events, meta, repositories
from cargohold.db.work import Reader, Work

NOW = datetime(2026, 11, 24, 12, 30, 15, 123456, tzinfo=UTC)


class Repository(msgspec.Struct, frozen=True):
    id: int
    name: str
    created_at: datetime


class Written(msgspec.Struct, frozen=True, tag="test.written"):
    name: str


class Untagged(msgspec.Struct, frozen=True):
    name: str


REPOSITORY = (repositories.c.id, repositories.c.name, repositories.c.created_at)
ADD: Query[int] = Query(
    insert(repositories)
    .values(name=bindparam("name"), path_key=bindparam("name"), created_at=bindparam("created_at"))
    .returning(repositories.c.id)
)
GET = Query(sa.select(*REPOSITORY).where(repositories.c.name == bindparam("name")), Repository)
NAMES: Query[str] = Query(sa.select(repositories.c.name).order_by(repositories.c.name))
AMONG: Query[str] = Query(sa.select(repositories.c.name).where(in_list(repositories.c.name, "names")).order_by(repositories.c.name))
SET = Query(upsert(meta, key=["key"], values=["key", "value"], update=["value"]))
KEEP = Query(upsert(meta, key=["key"], values=["key", "value"]))
VALUE: Query[str] = Query(sa.select(meta.c.value).where(meta.c.key == bindparam("key")))
VALUES: Query[tuple[str, str]] = Query(sa.select(meta.c.key, meta.c.value).order_by(meta.c.key), tuple)
DROP = Query(sa.delete(meta).where(meta.c.key == bindparam("key")))
COUNT = Query(
    upsert(
        meta,
        key=["key"],
        values={"key": bindparam("key"), "value": "1"},
        update={"value": sa.cast(sa.cast(meta.c.value, sa.Integer) + 1, sa.Text)},
    )
)
EVENTS: Query[tuple[str, str]] = Query(sa.select(events.c.kind, events.c.body).order_by(events.c.id), tuple)


def numbers(most: int | None = None) -> sa.CTE:
    """1, 2, 3 and on, without end when `most` is None."""
    first = sa.select(sa.literal(1).label("i")).cte("n", recursive=True)
    step = sa.select(first.c.i + 1)
    return first.union_all(step if most is None else step.where(first.c.i < most))


FOREVER: Query[int] = Query(sa.select(sa.func.count()).select_from(numbers()))
FOREVER_WRITING: Query[Any] = Query(
    insert(meta).from_select(["key", "value"], sa.select(sa.cast(sa.func.count(), sa.Text), sa.literal("")).select_from(numbers()))
)


async def add(work: Work, name: str) -> int:
    found = await work.one(ADD, name=name, created_at=NOW)
    assert found is not None
    work.emit(Written(name))
    return found


async def put(work: Work, key: str, value: str) -> int:
    return await work.run(SET, key=key, value=value)


async def count(work: Work, key: str) -> None:
    await work.run(COUNT, key=key)


async def names(reader: Reader) -> list[str]:
    return await reader.all(NAMES)
