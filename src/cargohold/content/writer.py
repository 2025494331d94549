"""The bytes of one PATCH on their way into a session: gather a segment, hash and stage it while the next one arrives.

    chunks --> buffer --full--> [hash | stage] --> row (drivers that need one, per segment) --> ... --> close: tail, settle, row

One segment is in flight and one is filling, so memory is twice the driver's segment whatever the size of the layer.
Invariant: what `close` writes into the row is durable before; a fence that is gone stops the writer before its next segment.
The caller owns the session (sessions.owned); the writer renews that while bytes come.
"""

from __future__ import annotations

import asyncio
import hashlib

import msgspec

from cargohold.content.queries import uploads as rows
from cargohold.content.queries.uploads import Session
from cargohold.content.sessions import OWNED, TAIL, lost, renew
from cargohold.content.store import Store, utc_now
from cargohold.names import Hasher
from cargohold.storage.driver import Segment

_RENEW = OWNED / 4


async def running_hash(store: Store, session: Session, algorithm: str = "sha256") -> Hasher:
    """The hash of all bytes of the session so far: kept by this worker, or read back."""
    if algorithm == "sha256":
        kept = store.hashes.of(session.id, session.size)
        if kept is not None:
            return kept
    state: Hasher = hashlib.new(algorithm)
    if session.staged:
        async for chunk in store.driver.read_staged(session.id, await staged_segments(store, session), 0, session.staged):
            await asyncio.to_thread(state.update, chunk)
    state.update(session.tail)
    return state


async def staged_segments(store: Store, session: Session) -> list[Segment]:
    return await rows.segments(store.db.now, session.id) if store.driver.records else []


class Writer:
    """Appends under `fence` until `close`; after an error `stop` waits for what is in flight."""

    def __init__(self, store: Store, session: Session, fence: int, state: Hasher) -> None:
        self._store, self._session, self._fence, self._hash = store, session, fence, state
        self._buffer = bytearray(session.tail)
        self._hashed = len(session.tail)
        """Bytes at the head of the buffer that the hash has seen already."""
        self._offset = session.staged
        self._staged = False
        self._flight: asyncio.Task[Segment] | None = None
        self._renew_at = utc_now() + _RENEW

    async def begin(self) -> None:
        """Take a short last segment back into the buffer: only the very last one may be short when the blob is built."""
        if not self._store.driver.records:
            return
        last = (await rows.segments(self._store.db.now, self._session.id))[-1:]
        if last and last[0].length < self._store.driver.segment:
            start = last[0].offset
            pieces = self._store.driver.read_staged(self._session.id, last, start, start + last[0].length)
            again = b"".join([chunk async for chunk in pieces])
            self._buffer[:0] = again
            self._hashed += len(again)
            self._offset = start

    async def write(self, chunk: bytes) -> None:
        self._buffer += chunk
        if len(self._buffer) >= self._store.driver.segment:
            while len(self._buffer) >= self._store.driver.segment:
                await self._launch(self._store.driver.segment)
        elif utc_now() >= self._renew_at:
            await self._renewed(await renew(self._store, self._session.id, self._fence))

    async def close(self) -> Session:
        """All bytes durable, the row up to date, the session free."""
        await self._land()
        if len(self._buffer) > TAIL:
            await self._launch(len(self._buffer))
            await self._land()
        if self._staged:
            await self._store.driver.settle(self._session.id)
        tail = bytes(self._buffer)
        self._hash.update(tail[self._hashed :])
        size = self._offset + len(tail)
        hex = self._hash.hexdigest()
        now = utc_now()
        if not await self._store.db.write(rows.progress, self._session.id, self._fence, [], size, tail, hex, now, now):
            raise await lost(self._store, self._session.id)
        self._store.hashes.keep(self._session.id, size, self._hash)
        return msgspec.structs.replace(self._session, size=size, tail=tail, digest_hex=hex, fence=self._fence)

    async def stop(self) -> None:
        """What was staged and has no row is staged again by the next owner."""
        if self._flight is not None:
            await asyncio.gather(self._flight, return_exceptions=True)

    async def _launch(self, size: int) -> None:
        """The first `size` bytes of the buffer. Segments are cut exactly: some buckets want all parts but the last of one size."""
        await self._land()
        data, skip = self._buffer, min(self._hashed, size)
        self._buffer, self._hashed = data[size:], self._hashed - skip
        del data[size:]
        self._flight = asyncio.create_task(self._carry(self._offset, data, skip))
        self._offset += size
        self._staged = True

    async def _carry(self, offset: int, data: bytearray, skip: int) -> Segment:
        token, _ = await asyncio.gather(
            self._store.driver.stage(self._session.id, offset, self._fence, data),
            asyncio.to_thread(self._hash.update, memoryview(data)[skip:]),
        )
        return Segment(offset, len(data), token)

    async def _land(self) -> None:
        if self._flight is None:
            return
        segment = await self._flight
        self._flight = None
        if self._store.driver.records:
            now, size = utc_now(), segment.offset + segment.length
            args = (self._session.id, self._fence, [segment], size, b"", self._hash.hexdigest(), now, now + OWNED)
            await self._renewed(await self._store.db.write(rows.progress, *args))

    async def _renewed(self, kept: int) -> None:
        if not kept:
            raise await lost(self._store, self._session.id)
        self._renew_at = utc_now() + _RENEW
