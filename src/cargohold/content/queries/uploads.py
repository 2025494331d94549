"""SQL of upload sessions (states: content/sessions.py). Every change of a running one is fenced."""

from __future__ import annotations

from datetime import datetime

import msgspec
from sqlalchemy import bindparam, delete, func, select, update

from cargohold.db.query import Query, insert
from cargohold.db.tables import upload_segments, uploads
from cargohold.db.tables.uploads import DEAD, DONE, FINISHING, OPEN
from cargohold.db.work import Reader, Work
from cargohold.names import Digest, RepoName, UploadId
from cargohold.storage.driver import Segment


class Session(msgspec.Struct, frozen=True):
    id: UploadId
    repository: str
    principal: str
    state: int
    size: int
    digest_hex: str
    tail: bytes
    fence: int
    lease_until: datetime
    handle: str
    digest: Digest | None

    @property
    def staged(self) -> int:
        """Bytes that the driver holds; the rest is in `tail`."""
        return self.size - len(self.tail)


class Taken(msgspec.Struct, frozen=True):
    """What the new owner of a session gets: its fence, and the handle of a half-done write that an earlier owner left."""

    fence: int
    handle: str


_COLUMNS = (
    uploads.c.id,
    uploads.c.repository,
    uploads.c.principal,
    uploads.c.state,
    uploads.c.size,
    uploads.c.digest_hex,
    uploads.c.tail,
    uploads.c.fence,
    uploads.c.lease_until,
    uploads.c.handle,
    uploads.c.digest,
)
_GET = Query(select(*_COLUMNS).where(uploads.c.id == bindparam("upload")), Session)
_NEW: Query[int] = Query(
    insert(uploads).values(
        id=bindparam("upload"),
        repository=bindparam("repository"),
        principal=bindparam("principal"),
        state=OPEN,
        size=0,
        digest_hex=bindparam("digest_hex"),
        tail=b"",
        fence=0,
        lease_until=bindparam("now"),
        handle="",
        digest=None,
        created_at=bindparam("now"),
        touched_at=bindparam("now"),
    )
)
_FREE = (
    uploads.c.id == bindparam("upload"),
    uploads.c.state <= FINISHING,
    uploads.c.size == bindparam("offset"),
    uploads.c.lease_until <= bindparam("now"),
)
_MINE = (uploads.c.id == bindparam("upload"), uploads.c.fence == bindparam("fence"), uploads.c.state <= FINISHING)
_TAKE = Query(
    update(uploads)
    .where(*_FREE)
    .values(fence=uploads.c.fence + 1, lease_until=bindparam("until"), state=OPEN, touched_at=bindparam("now"))
    .returning(uploads.c.fence, uploads.c.handle),
    Taken,
)
_APPEND: Query[int] = Query(
    update(uploads)
    .where(*_FREE)
    .values(
        fence=uploads.c.fence + 1,
        size=bindparam("size"),
        tail=bindparam("tail"),
        digest_hex=bindparam("digest_hex"),
        touched_at=bindparam("now"),
    )
)
_RENEW: Query[int] = Query(update(uploads).where(*_MINE).values(lease_until=bindparam("until"), touched_at=bindparam("now")))
_PROGRESS: Query[int] = Query(
    update(uploads)
    .where(*_MINE)
    .values(
        size=bindparam("size"),
        tail=bindparam("tail"),
        digest_hex=bindparam("digest_hex"),
        lease_until=bindparam("until"),
        touched_at=bindparam("now"),
    )
)
_REMEMBER: Query[int] = Query(update(uploads).where(*_MINE).values(handle=bindparam("handle"), state=FINISHING))
_UNDONE: Query[int] = Query(update(uploads).where(*_MINE).values(handle=""))
_FINISH: Query[int] = Query(
    update(uploads)
    .where(uploads.c.id == bindparam("upload"), uploads.c.state <= FINISHING, uploads.c.fence == bindparam("fence"))
    .values(state=DONE, digest=bindparam("digest"), tail=b"", handle="", lease_until=bindparam("now"), touched_at=bindparam("now"))
)
_BURY: Query[str] = Query(
    update(uploads)
    .where(uploads.c.id == bindparam("upload"))
    .values(state=DEAD, lease_until=bindparam("now"), touched_at=bindparam("now"))
    .returning(uploads.c.handle)
)
_DROP: Query[int] = Query(delete(uploads).where(uploads.c.id == bindparam("upload")))
_DROP_SEGMENTS: Query[int] = Query(delete(upload_segments).where(upload_segments.c.upload_id == bindparam("upload")))
_DROP_SEGMENTS_FROM: Query[int] = Query(
    delete(upload_segments).where(upload_segments.c.upload_id == bindparam("upload"), upload_segments.c.offset >= bindparam("start"))
)
_SEGMENT: Query[int] = Query(
    insert(upload_segments)
    .values(upload_id=bindparam("upload"), offset=bindparam("start"), length=bindparam("length"), token=bindparam("token"))
    .on_conflict_do_update(index_elements=["upload_id", "offset"], set_={"length": bindparam("length"), "token": bindparam("token")})
)
_SEGMENTS = Query(
    select(upload_segments.c.offset, upload_segments.c.length, upload_segments.c.token)
    .where(upload_segments.c.upload_id == bindparam("upload"))
    .order_by(upload_segments.c.offset),
    tuple,
)
_IDLE = Query(
    select(*_COLUMNS)
    .where(
        uploads.c.touched_at < bindparam("before"),
        uploads.c.lease_until < bindparam("now"),
        uploads.c.state <= FINISHING,
        uploads.c.id > bindparam("after"),
    )
    .order_by(uploads.c.id)
    .limit(bindparam("count")),
    Session,
)
_ENDED = Query(
    select(*_COLUMNS)
    .where(uploads.c.state >= DONE, uploads.c.touched_at < bindparam("before"), uploads.c.id > bindparam("after"))
    .order_by(uploads.c.id)
    .limit(bindparam("count")),
    Session,
)
_COUNT: Query[int] = Query(
    select(func.count()).select_from(select(uploads.c.id).where(uploads.c.state <= FINISHING).limit(bindparam("cap")).subquery())
)


async def session(r: Reader, upload: UploadId) -> Session | None:
    return await r.one(_GET, upload=upload)


async def segments(r: Reader, upload: UploadId) -> list[Segment]:
    return [Segment(*row) for row in await r.all(_SEGMENTS, upload=upload)]


async def open_session(work: Work, upload: UploadId, repository: RepoName, principal: str, digest_hex: str, now: datetime) -> int:
    return await work.run(_NEW, upload=upload, repository=repository, principal=principal, digest_hex=digest_hex, now=now)


async def take(work: Work, upload: UploadId, offset: int, now: datetime, until: datetime) -> Taken | None:
    """Fenced anew, if the session is free and stands at that offset."""
    return await work.one(_TAKE, upload=upload, offset=offset, now=now, until=until)


async def append_tail(work: Work, upload: UploadId, offset: int, tail: bytes, size: int, digest_hex: str, now: datetime) -> int:
    """One short write for a short piece: take, append, free."""
    return await work.run(_APPEND, upload=upload, offset=offset, tail=tail, size=size, digest_hex=digest_hex, now=now)


async def renew(work: Work, upload: UploadId, fence: int, now: datetime, until: datetime) -> int:
    return await work.run(_RENEW, upload=upload, fence=fence, now=now, until=until)


async def progress(
    work: Work, upload: UploadId, fence: int, staged: list[Segment], size: int, tail: bytes, digest_hex: str, now: datetime, until: datetime
) -> int:
    """Where the bytes now stand durably; `until` in the past frees the session. 0: another owner has it."""
    rows = await work.run(_PROGRESS, upload=upload, fence=fence, size=size, tail=tail, digest_hex=digest_hex, now=now, until=until)
    if rows and staged:
        await work.run(_DROP_SEGMENTS_FROM, upload=upload, start=staged[0].offset)
        for item in staged:
            await work.run(_SEGMENT, upload=upload, start=item.offset, length=item.length, token=item.token)
    return rows


async def remember(work: Work, upload: UploadId, fence: int, handle: str) -> int:
    return await work.run(_REMEMBER, upload=upload, fence=fence, handle=handle)


async def undone(work: Work, upload: UploadId, fence: int) -> int:
    """What the handle stood for is taken back."""
    return await work.run(_UNDONE, upload=upload, fence=fence)


async def finish(work: Work, upload: UploadId, fence: int, digest: Digest, now: datetime) -> int:
    await work.run(_DROP_SEGMENTS, upload=upload)
    return await work.run(_FINISH, upload=upload, fence=fence, digest=digest, now=now)


async def bury(work: Work, upload: UploadId, now: datetime) -> str | None:
    """Whoever owns it finds its fence gone; the handle of a write that was on its way, or None without a session."""
    return await work.one(_BURY, upload=upload, now=now)


async def drop(work: Work, upload: UploadId) -> int:
    await work.run(_DROP_SEGMENTS, upload=upload)
    return await work.run(_DROP, upload=upload)


async def idle_sessions(r: Reader, before: datetime, now: datetime, after: str, count: int) -> list[Session]:
    return await r.all(_IDLE, before=before, now=now, after=after, count=count)


async def ended_sessions(r: Reader, before: datetime, after: str, count: int) -> list[Session]:
    """Done, or dead with bytes that were not to be had away at once."""
    return await r.all(_ENDED, before=before, after=after, count=count)


async def open_count(r: Reader, cap: int) -> int:
    """Sessions that may still become a blob, counted up to `cap`."""
    return await r.one(_COUNT, cap=cap) or 0
