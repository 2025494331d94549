"""Uploads: append bytes to a session, and make a blob of them (OCI end-4b, end-5, end-6).

    append: up to 256 KiB --> one row            more --> lease, Writer, row
    finish: all in the row --> one put           staged --> lease, assemble under the final key
    whole:  digest known and nothing sent yet --> straight to the final key, hash checked before it appears
    all:    bytes and links durable --> one short write: repository, blob, link, lease, event, session --> answer

Bytes that the store has already are not stored twice, but they are always read and checked: only who sent them, or may
read them, gets the blob.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec

from cargohold.auth.identity import Actor
from cargohold.content.queries import blobs
from cargohold.content.queries import uploads as rows
from cargohold.content.queries.repositories import ensure_repository
from cargohold.content.queries.uploads import Session
from cargohold.content.sessions import TAIL, new_id, take
from cargohold.content.store import LEASE, Store, utc_now
from cargohold.content.writer import Writer, running_hash, staged_segments
from cargohold.db.tables.content import PRESENT
from cargohold.db.tables.uploads import DONE
from cargohold.db.work import Work
from cargohold.errors import DigestInvalid, UploadUnknown
from cargohold.events import BlobPushed
from cargohold.http.call import Body, Call, ClientGone
from cargohold.names import Digest, Hasher, RepoName, UploadId
from cargohold.storage import keys
from cargohold.storage.driver import Segment, Small
from cargohold.telemetry import metrics

_BATCH = 1 << 20


class _Nothing:
    """The body of a request that has none."""

    length: int | None = 0

    async def chunks(self) -> AsyncIterator[bytes]:
        return
        yield b""  # an iterator needs one


def body_of(call: Call) -> Body:
    return call.body if call.body is not None else _Nothing()


async def append(store: Store, session: Session, body: Body) -> Session:
    """The session after all that came is durable. When the client leaves early, what came is kept and ClientGone goes on."""
    pieces = body.chunks()
    head = bytearray(session.tail)
    gone = False
    try:
        async for chunk in pieces:
            head += chunk
            if len(head) > TAIL:
                break
    except ClientGone:
        gone = True
    if len(head) <= TAIL:
        after = await _append_short(store, session, bytes(head))
        if gone:
            raise ClientGone
        return after
    return await _append_long(store, session, bytes(head[len(session.tail) :]), pieces)


async def _append_short(store: Store, session: Session, tail: bytes) -> Session:
    if len(tail) == len(session.tail):
        return session
    state = await running_hash(store, session)
    state.update(tail[len(session.tail) :])
    size, hex = session.staged + len(tail), state.hexdigest()
    if not await store.db.write(rows.append_tail, session.id, session.size, tail, size, hex, utc_now()):
        return await _append_long(store, session, tail[len(session.tail) :], None)
    store.hashes.keep(session.id, size, state)
    return msgspec.structs.replace(session, size=size, tail=tail, digest_hex=hex, fence=session.fence + 1)


async def _append_long(store: Store, session: Session, head: bytes, pieces: AsyncIterator[bytes] | None) -> Session:
    fence = await take(store, session)
    writer = Writer(store, session, fence, await running_hash(store, session))
    gone = False
    try:
        await writer.begin()
        await writer.write(head)
        if pieces is not None:
            try:
                async for chunk in pieces:
                    await writer.write(chunk)
            except ClientGone:
                gone = True
        after = await writer.close()
    except BaseException:
        await asyncio.shield(writer.release())
        raise
    if gone:
        raise ClientGone
    return after


async def finish(store: Store, actor: Actor, session: Session, digest: Digest, request: str) -> None:
    """Make a blob of the session's bytes. Raises DigestInvalid and leaves the session as it is when they are others."""
    if session.state == DONE:
        if session.digest != digest:
            raise UploadUnknown(upload=session.id)
        return
    await _check_digest(store, session, digest)
    repository = RepoName(session.repository)
    await store.adopt(repository)
    link = Small(keys.layer(repository, digest), digest.encode())
    fence, known = session.fence, await _known(store, digest, session.size)
    if known is not None:
        await store.driver.put([link])
        mark = known
    elif not session.staged:
        await store.driver.put([Small(keys.blob(digest), session.tail), link])
        mark = await store.mark(digest)
    else:
        fence = await take(store, session)
        mark = await _assemble(store, session, fence, digest, link)
    await store.db.write(_stored, repository, digest, session.size, mark, actor.name, request, session.id, fence)
    metrics.uploads_finished.add()
    store.hashes.drop(session.id)
    if session.staged and (store.driver.records or known is not None):
        store.later(store.driver.unstage(session.id))


async def whole(
    store: Store, actor: Actor, repository: RepoName, digest: Digest, body: Body, request: str, session: Session | None = None
) -> None:
    """Store a body whose digest is known before its first byte: POST with `digest`, or PUT on an empty session."""
    pieces = body.chunks()
    head = bytearray()
    async for chunk in pieces:
        head += chunk
        if len(head) > TAIL:
            break
    await store.adopt(repository)
    link = Small(keys.layer(repository, digest), digest.encode())
    upload, fence = (session.id, session.fence) if session else (None, 0)
    if len(head) <= TAIL:
        size = len(head)
        if Digest.of(bytes(head), digest.algorithm) != digest:
            raise DigestInvalid(digest=digest)
        known = await _known(store, digest, size)
        await store.driver.put([link] if known is not None else [Small(keys.blob(digest), bytes(head)), link])
        mark = known if known is not None else await store.mark(digest)
    else:
        if session is not None:
            fence = await take(store, session)
        try:
            upload, size, mark = await _write_long(store, actor, repository, digest, head, pieces, link, session, fence)
        except BaseException:
            if session is not None:
                await asyncio.shield(store.db.note(rows.renew, session.id, fence, utc_now(), utc_now()))
            raise
    await store.db.write(_stored, repository, digest, size, mark, actor.name, request, upload, fence)
    metrics.uploads_finished.add()


async def _write_long(
    store: Store,
    actor: Actor,
    repository: RepoName,
    digest: Digest,
    head: bytearray,
    pieces: AsyncIterator[bytes],
    link: Small,
    session: Session | None,
    fence: int,
) -> tuple[UploadId | None, int, int]:
    """The session that remembers the write (if the driver needed one), the size and the mark."""
    hasher = digest.hasher()
    batches = _Batches(head, pieces, hasher)
    upload = session.id if session else None

    def verify() -> None:
        if hasher.hexdigest() != digest.encoded:
            raise DigestInvalid(digest=digest)

    async def remember(handle: str) -> None:
        nonlocal upload
        if upload is not None:
            await store.db.write(rows.remember, upload, fence, handle)
        else:
            upload = new_id()
            await store.db.write(rows.open_session, upload, repository, actor.principal, "", utc_now(), handle=handle)

    stat = await store.driver.write(keys.blob(digest), batches.stream(), verify=verify, remember=remember, links=[link])
    return upload, batches.size, stat.mark


class _Batches:
    """Chunks joined to about 1 MiB, each hashed in a thread while the driver takes it."""

    def __init__(self, head: bytearray, pieces: AsyncIterator[bytes], hasher: Hasher) -> None:
        self._buffer, self._pieces, self._hasher = head, pieces, hasher
        self.size = 0

    async def stream(self) -> AsyncIterator[bytes]:
        buffer = self._buffer
        async for chunk in self._pieces:
            buffer += chunk
            if len(buffer) >= _BATCH:
                data = bytes(buffer)
                buffer.clear()
                hashing = asyncio.ensure_future(asyncio.to_thread(self._hasher.update, data))
                self.size += len(data)
                try:
                    yield data
                finally:
                    await hashing
        if buffer:
            await asyncio.to_thread(self._hasher.update, buffer)
            self.size += len(buffer)
            yield bytes(buffer)


async def _check_digest(store: Store, session: Session, digest: Digest) -> None:
    if digest.algorithm == "sha256":
        found = session.digest_hex
    else:
        found = (await running_hash(store, session, digest.algorithm)).hexdigest()
    if found != digest.encoded:
        raise DigestInvalid(digest=digest, received=f"{digest.algorithm}:{found}")


async def _known(store: Store, digest: Digest, size: int) -> int | None:
    """The mark of bytes that are stored already and still as they were; anything else is stored anew."""
    blob = await blobs.blob_anywhere(store.db.now, digest)
    if blob is None or blob.state != PRESENT or blob.size != size or await store.mark(digest) != blob.mark:
        return None
    return blob.mark


async def _assemble(store: Store, session: Session, fence: int, digest: Digest, link: Small) -> int:
    segments = await staged_segments(store, session)
    if session.tail:
        token = await store.driver.stage(session.id, session.staged, fence, session.tail)
        segments.append(Segment(session.staged, len(session.tail), token))
        await store.driver.settle(session.id)

    async def remember(handle: str) -> None:
        await store.db.write(rows.remember, session.id, fence, handle)

    stat = await store.driver.assemble(session.id, segments, session.size, keys.blob(digest), remember=remember, links=[link])
    return stat.mark


async def _stored(
    work: Work,
    repository: RepoName,
    digest: Digest,
    size: int,
    mark: int,
    actor: str,
    request: str,
    upload: UploadId | None,
    fence: int,
) -> None:
    now = utc_now()
    blob = await blobs.store_blob(work, digest, size, mark, now + LEASE, now)
    if await blobs.link_blob(work, await ensure_repository(work, repository, now), blob):
        work.emit(BlobPushed(repository=repository, digest=digest, size=size, actor=actor, request=request))
    if upload is None:
        return
    if not await rows.finish(work, upload, fence, digest, now):
        raise UploadUnknown(upload=upload)
