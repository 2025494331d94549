"""SQL of the outbox as the tree's journal, and of `meta`."""

from __future__ import annotations

from datetime import datetime

import msgspec
from sqlalchemy import bindparam, delete, func, select

from cargohold.db.query import Query, insert
from cargohold.db.tables import events, meta
from cargohold.db.work import Reader, Work


class Entry(msgspec.Struct, frozen=True):
    id: int
    kind: str
    body: str


_GET: Query[str] = Query(select(meta.c.value).where(meta.c.key == bindparam("name")))
_SET: Query[int] = Query(
    insert(meta)
    .values(key=bindparam("name"), value=bindparam("text"))
    .on_conflict_do_update(index_elements=["key"], set_={"value": bindparam("text")})
)
_CLEAR: Query[int] = Query(delete(meta).where(meta.c.key == bindparam("name")))
_NEWEST: Query[int] = Query(select(func.coalesce(func.max(events.c.id), 0)))
_AFTER = Query(
    select(events.c.id, events.c.kind, events.c.body)
    .where(events.c.id > bindparam("after"))
    .order_by(events.c.id)
    .limit(bindparam("count")),
    Entry,
)


_OLDEST = select(events.c.id, events.c.at).where(events.c.id <= bindparam("upto")).order_by(events.c.id).limit(1000).subquery()
_PRUNE: Query[int] = Query(delete(events).where(events.c.id.in_(select(_OLDEST.c.id).where(_OLDEST.c.at < bindparam("before")))))


async def prune_events(work: Work, upto: int, before: datetime) -> int:
    """Drops at most a thousand of the oldest events, of those up to `upto` that are older than `before`; how many."""
    return await work.run(_PRUNE, upto=upto, before=before)


async def get_meta(r: Reader, name: str) -> str | None:
    return await r.one(_GET, name=name)


async def set_meta(work: Work, name: str, text: str) -> int:
    return await work.run(_SET, name=name, text=text)


async def clear_meta(work: Work, name: str) -> int:
    return await work.run(_CLEAR, name=name)


async def newest_event(r: Reader) -> int:
    return await r.one(_NEWEST) or 0


async def events_after(r: Reader, after: int, count: int) -> list[Entry]:
    return await r.all(_AFTER, after=after, count=count)
