"""SQL of blobs: which a repository holds, their leases, their state."""

from __future__ import annotations

from datetime import datetime

import msgspec
from sqlalchemy import BigInteger, bindparam, case, delete, select, type_coerce, update

from cargohold.db.query import Query, insert
from cargohold.db.tables import blobs, repositories, repository_blobs
from cargohold.db.tables.content import PRESENT, TOMBSTONE
from cargohold.db.work import Reader, Work
from cargohold.names import Digest, RepoName


class Blob(msgspec.Struct, frozen=True):
    """Bytes that are stored once for all repositories."""

    id: int
    digest: Digest
    size: int
    mark: int
    state: int
    leased_until: int
    """Microseconds since 1970: a pull compares it, and a datetime would cost it a microsecond."""


_LEASED = type_coerce(blobs.c.leased_until, BigInteger).label("leased_until")
_COLUMNS = (blobs.c.id, blobs.c.digest, blobs.c.size, blobs.c.mark, blobs.c.state, _LEASED)
_HELD = select(*_COLUMNS).join(repository_blobs, repository_blobs.c.blob_id == blobs.c.id)

_IN_NAME: Query[tuple[int, int, int, int]] = Query(
    select(blobs.c.id, blobs.c.size, blobs.c.mark, _LEASED)
    .join(repository_blobs, repository_blobs.c.blob_id == blobs.c.id)
    .join(repositories, repositories.c.id == repository_blobs.c.repository_id)
    .where(repositories.c.name == bindparam("repository"), blobs.c.digest == bindparam("digest"), blobs.c.state == PRESENT),
    tuple,
)
_OF_ID = _HELD.where(
    repository_blobs.c.repository_id == bindparam("repository_id"), blobs.c.digest == bindparam("digest"), blobs.c.state == PRESENT
)
_IN_ID = Query(_OF_ID, Blob)
_KEPT_IN_ID = Query(_OF_ID.with_for_update(read=True, key_share=True, of=repository_blobs), Blob)
_ANYWHERE = Query(select(*_COLUMNS).where(blobs.c.digest == bindparam("digest")), Blob)
_HOLDERS: Query[str] = Query(
    select(repositories.c.name)
    .join(repository_blobs, repository_blobs.c.repository_id == repositories.c.id)
    .join(blobs, blobs.c.id == repository_blobs.c.blob_id)
    .where(blobs.c.digest == bindparam("digest"), blobs.c.state == PRESENT)
    .limit(bindparam("count"))
)
_STORE: Query[int] = Query(
    insert(blobs)
    .values(
        digest=bindparam("digest"),
        size=bindparam("size"),
        mark=bindparam("mark"),
        state=PRESENT,
        leased_until=bindparam("leased_until"),
        created_at=bindparam("now"),
    )
    .on_conflict_do_update(
        index_elements=["digest"],
        set_={
            "state": PRESENT,
            "size": bindparam("size"),
            "mark": bindparam("mark"),
            "leased_until": bindparam("leased_until"),
        },
    )
    .returning(blobs.c.id)
)
_LINK: Query[int] = Query(
    insert(repository_blobs)
    .values(repository_id=bindparam("repository_id"), blob_id=bindparam("blob_id"))
    .on_conflict_do_nothing(index_elements=["repository_id", "blob_id"])
)
_UNLINK: Query[int] = Query(
    delete(repository_blobs).where(
        repository_blobs.c.repository_id
        == select(repositories.c.id).where(repositories.c.name == bindparam("repository")).scalar_subquery(),
        repository_blobs.c.blob_id == select(blobs.c.id).where(blobs.c.digest == bindparam("digest")).scalar_subquery(),
    )
)
_LEASE: Query[int] = Query(
    update(blobs)
    .where(blobs.c.id == bindparam("blob_id"))
    .values(leased_until=bindparam("leased_until"), state=case((blobs.c.state == TOMBSTONE, PRESENT), else_=blobs.c.state))
)
_JUDGE: Query[int] = Query(update(blobs).where(blobs.c.id == bindparam("blob_id")).values(mark=bindparam("mark"), state=bindparam("state")))
_ALL = Query(select(*_COLUMNS).where(blobs.c.id > bindparam("after")).order_by(blobs.c.id).limit(bindparam("count")), Blob)
_LINKED = Query(
    _HELD.where(repository_blobs.c.repository_id == bindparam("repository_id"), repository_blobs.c.blob_id > bindparam("after"))
    .order_by(repository_blobs.c.blob_id)
    .limit(bindparam("count")),
    Blob,
)


async def blob_in(r: Reader, repository: RepoName, digest: Digest) -> Blob | None:
    """The hottest question of all: it asks for no column that the caller knows already."""
    row = await r.one(_IN_NAME, repository=repository, digest=digest)
    return None if row is None else Blob(row[0], digest, row[1], row[2], PRESENT, row[3])


async def blob_in_id(r: Reader, repository_id: int, digest: Digest, *, keep: bool = False) -> Blob | None:
    """`keep`: nobody takes it out of the repository before this unit ends."""
    return await r.one(_KEPT_IN_ID if keep else _IN_ID, repository_id=repository_id, digest=digest)


async def blob_anywhere(r: Reader, digest: Digest) -> Blob | None:
    """In whatever state, in whatever repository: for our own decisions, never for an answer."""
    return await r.one(_ANYWHERE, digest=digest)


async def holders(r: Reader, digest: Digest, count: int) -> list[str]:
    """Some repositories that hold the blob."""
    return await r.all(_HOLDERS, digest=digest, count=count)


async def store_blob(work: Work, digest: Digest, size: int, mark: int, leased_until: datetime, now: datetime) -> int:
    """The blob's id; a tombstone or a corrupt blob of that digest is whole again."""
    found = await work.one(_STORE, digest=digest, size=size, mark=mark, leased_until=leased_until, now=now)
    assert found is not None
    return found


async def link_blob(work: Work, repository_id: int, blob_id: int) -> int:
    return await work.run(_LINK, repository_id=repository_id, blob_id=blob_id)


async def unlink_blob(work: Work, repository: RepoName, digest: Digest) -> int:
    return await work.run(_UNLINK, repository=repository, digest=digest)


async def lease_blob(work: Work, blob_id: int, leased_until: datetime) -> int:
    """Nobody may collect the blob before that time; a tombstone revives."""
    return await work.run(_LEASE, blob_id=blob_id, leased_until=leased_until)


async def judge_blob(work: Work, blob_id: int, mark: int, state: int) -> int:
    """What a look at the stored bytes has shown."""
    return await work.run(_JUDGE, blob_id=blob_id, mark=mark, state=state)


async def all_blobs(r: Reader, after: int, count: int) -> list[Blob]:
    return await r.all(_ALL, after=after, count=count)


async def linked_blobs(r: Reader, repository_id: int, after: int, count: int) -> list[Blob]:
    return await r.all(_LINKED, repository_id=repository_id, after=after, count=count)
