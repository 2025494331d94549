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
from cargohold.content.sessions import TAIL, discard, lost, new_id, owned
from cargohold.content.store import LEASE, Store, utc_now
from cargohold.content.tree import keep_layer
from cargohold.content.writer import Writer, running_hash, staged_segments
from cargohold.db.tables.content import PRESENT
from cargohold.db.tables.uploads import DEAD, DONE
from cargohold.db.work import Work
from cargohold.errors import DigestInvalid, Unavailable, UploadUnknown
from cargohold.events import BlobPushed
from cargohold.http.call import Body, Call, ClientGone
from cargohold.names import Digest, Hasher, RepoName, UploadId
from cargohold.storage import keys
from cargohold.storage.driver import Remember, Segment, Small, Stat
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
    gone = False
    async with owned(store, session, renew=False) as fence:
        writer = Writer(store, session, fence, await running_hash(store, session))
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
            await asyncio.shield(writer.stop())
            raise
    if gone:
        raise ClientGone
    return after


class _Push(msgspec.Struct, frozen=True):
    """What is being stored, and for whom."""

    repository: RepoName
    digest: Digest
    actor: str
    request: str

    @property
    def link(self) -> Small:
        return Small(keys.layer(self.repository, self.digest), self.digest.encode())


async def finish(store: Store, actor: Actor, session: Session, digest: Digest, request: str) -> None:
    """Make a blob of the session's bytes. Raises DigestInvalid and leaves the session as it is when they are others."""
    if session.state == DONE:
        if session.digest != digest:
            raise UploadUnknown(upload=session.id)
        return
    await _check_digest(store, session, digest)
    push = _Push(RepoName(session.repository), digest, actor.name, request)
    await store.adopt(push.repository)
    known = await _known(store, digest, session.size)
    if known is not None or not session.staged:
        mark = await _put(store, push, session.tail, known)
        await _commit(store, push, session.size, mark, session.id, session.fence)
    else:
        try:
            async with owned(store, session) as fence:
                mark = await _assemble(store, session, fence, push)
                await _commit(store, push, session.size, mark, session.id, fence)
        except UploadUnknown:  # the same PUT, sent twice: the other one was first
            now = await rows.session(store.db.now, session.id)
            if now is None or now.digest != digest:
                raise
            return
    metrics.uploads_finished.add()
    store.hashes.drop(session.id)
    if session.staged and (store.driver.records or known is not None):
        store.later(store.driver.unstage(session.id))


async def whole(
    store: Store, actor: Actor, repository: RepoName, digest: Digest, body: Body, request: str, session: Session | None = None
) -> None:
    """Store a body whose digest is known before its first byte: POST with `digest`, or PUT on an empty session.

    A body that is cut, or has another digest, leaves nothing; the session stays as it was.
    """
    pieces = body.chunks()
    head = bytearray()
    async for chunk in pieces:
        head += chunk
        if len(head) > TAIL:
            break
    push = _Push(repository, digest, actor.name, request)
    await store.adopt(repository)
    if len(head) <= TAIL:
        if Digest.of(bytes(head), digest.algorithm) != digest:
            raise DigestInvalid(digest=digest)
        mark = await _put(store, push, bytes(head), await _known(store, digest, len(head)))
        upload, fence = (session.id, session.fence) if session else (None, 0)
        await _commit(store, push, len(head), mark, upload, fence)
    elif session is not None:
        await _whole_long(store, push, head, pieces, session)
    elif store.driver.records:
        await _whole_noted(store, actor, push, head, pieces)
    else:
        stat = await _write(store, push, head, pieces, _never)
        await _commit(store, push, stat.size, stat.mark, None, 0)
    metrics.uploads_finished.add()


async def _whole_long(store: Store, push: _Push, head: bytearray, pieces: AsyncIterator[bytes], session: Session) -> None:
    async with owned(store, session) as fence:
        stat = await _write(store, push, head, pieces, _remember(store, session.id, fence))
        await _commit(store, push, stat.size, stat.mark, session.id, fence)


async def _whole_noted(store: Store, actor: Actor, push: _Push, head: bytearray, pieces: AsyncIterator[bytes]) -> None:
    """A session that no client knows holds what the sweeper needs if this process dies in the middle."""
    upload = new_id()
    await store.db.write(rows.open_session, upload, push.repository, actor.principal, "", utc_now())
    session = await rows.session(store.db.now, upload)
    assert session is not None
    try:
        await _whole_long(store, push, head, pieces, session)
    except BaseException:
        store.later(discard(store, session))
        raise


async def _write(store: Store, push: _Push, head: bytearray, pieces: AsyncIterator[bytes], remember: Remember) -> Stat:
    hasher = push.digest.hasher()

    def verify() -> None:
        if hasher.hexdigest() != push.digest.encoded:
            raise DigestInvalid(digest=push.digest)

    chunks = _batches(head, pieces, hasher)
    return await store.driver.write(keys.blob(push.digest), chunks, verify=verify, remember=remember, links=[push.link])


def _remember(store: Store, upload: UploadId, fence: int) -> Remember:
    async def remember(handle: str) -> None:
        if not await store.db.write(rows.remember, upload, fence, handle):
            raise await lost(store, upload)

    return remember


async def _never(handle: str) -> None:
    raise AssertionError(f"a driver without records has no handles, but told of {handle}")


async def _batches(buffer: bytearray, pieces: AsyncIterator[bytes], hasher: Hasher) -> AsyncIterator[bytes]:
    """Chunks joined to about 1 MiB, each hashed in a thread while the driver takes it."""
    async for chunk in pieces:
        buffer += chunk
        if len(buffer) >= _BATCH:
            data = bytes(buffer)
            buffer.clear()
            hashing = asyncio.ensure_future(asyncio.to_thread(hasher.update, data))
            try:
                yield data
            finally:
                await hashing
    if buffer:
        await asyncio.to_thread(hasher.update, buffer)
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
    if blob is None or blob.state != PRESENT or blob.size != size or not await store.has_bytes(blob):
        return None
    return blob.mark


async def _put(store: Store, push: _Push, data: bytes, known: int | None) -> int:
    """Bytes that fit into a row, or are known already, and their link; the mark."""
    if known is not None:
        await store.driver.put([push.link])
        return known
    await store.driver.put([Small(keys.blob(push.digest), data), push.link])
    return await store.mark(push.digest)


async def _assemble(store: Store, session: Session, fence: int, push: _Push) -> int:
    """The mark. A tail becomes the last segment, which no row needs to know: whoever repeats this stages it under another fence."""
    segments = await staged_segments(store, session)
    if session.tail:
        token = await store.driver.stage(session.id, session.staged, fence, session.tail)
        segments.append(Segment(session.staged, len(session.tail), token))
        await store.driver.settle(session.id)
    remember = _remember(store, session.id, fence)
    key = keys.blob(push.digest)
    stat = await store.driver.assemble(session.id, segments, session.size, key, remember=remember, links=[push.link])
    return stat.mark


async def _commit(store: Store, push: _Push, size: int, mark: int, upload: UploadId | None, fence: int) -> None:
    await store.db.write(_stored, push, size, mark, upload, fence)
    await keep_layer(store, push.repository, push.digest)


async def _stored(work: Work, push: _Push, size: int, mark: int, upload: UploadId | None, fence: int) -> None:
    now = utc_now()
    blob = await blobs.store_blob(work, push.digest, size, mark, now + LEASE, now)
    if await blobs.link_blob(work, await ensure_repository(work, push.repository, now), blob):
        work.emit(BlobPushed(repository=push.repository, digest=push.digest, size=size, actor=push.actor, request=push.request))
    if upload is None or await rows.finish(work, upload, fence, push.digest, now):
        return
    other = await rows.session(work, upload)
    if other is None or other.state == DEAD:
        raise UploadUnknown(upload=upload)
    if other.state != DONE or other.digest != push.digest:
        raise Unavailable("Another request has changed this upload meanwhile.", retry_after=1, upload=upload)
