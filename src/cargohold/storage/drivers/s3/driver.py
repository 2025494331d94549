"""The S3 driver: bytes by obstore, control by boto3, an upload as segment objects of which the final object is copied.

    <prefix>_cargohold/uploads/<id>/<offset, 15 digits>-<fence>     a segment; the last part of its name is the token

    stage     one put of a segment under a name nobody else uses
    assemble  one segment: copy; more: Create --remember(handle)--> part copies --> Complete --> size compared
    write     up to one segment: hashed in memory, one put; more: Create --remember--> parts --> verify --> Complete, else Abort

Invariants
- Nothing is under a final key before all of its bytes were there and `verify` agreed; links follow after it.
- Which segments count is in the caller's rows (`records`), never in a list of the bucket: a segment of an older fence, or one
  whose writer died before its row, is an object that nobody names, and `unstage` removes it.
- A handle `<key> <upload id>` is told to `remember` before a byte goes out that only `abandon` can take back. A call that
  fails aborts its multipart upload itself; a process that dies leaves it to the row.
- Bodies on their way hold at most 384 MiB in one process; a bucket that does not answer is not asked for some seconds.

Make it after the last fork. Callers: storage/open.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple

from cargohold.config.settings import MIB, S3
from cargohold.errors import CargoholdError, StorageFull, Unavailable, UploadUnknown
from cargohold.storage.driver import Content, Entry, Finding, Remember, Segment, Small, Stat, Verify
from cargohold.storage.drivers.s3.access import Access
from cargohold.storage.drivers.s3.check import examine
from cargohold.storage.drivers.s3.control import Control
from cargohold.storage.drivers.s3.faults import Breaker, Budget, Refused
from cargohold.storage.drivers.s3.objects import Objects
from cargohold.storage.drivers.uninterrupted import uninterrupted
from cargohold.storage.drivers.watched import watched
from cargohold.storage.keys import staging

SMALLEST_PART = 5 * MIB
_LARGEST_PART = 8 * MIB  # of a write, where three of them are in memory; they grow when there are many
_PARTS = 10_000
_COPY_WHOLE = 64 * MIB
_BYTES_IN_FLIGHT = 384 * MIB
_COPIES, _ASSEMBLIES, _WRITES = 8, 4, 2
_GROWS_EVERY = 2000
_DELETE_PAGE = 1000


class Piece(NamedTuple):
    """Bytes `start` up to `end` of one object: a source of one part."""

    source: str
    start: int
    end: int

    @property
    def size(self) -> int:
        return self.end - self.start


_IDLE_BEFORE_EXIT = 0.2


class S3Driver:
    name = "s3"
    records = True

    def __init__(self, settings: S3) -> None:
        self.segment = max(settings.segment, SMALLEST_PART)
        self._part = min(self.segment, _LARGEST_PART)
        self._access = Access.of(settings)
        self._breaker = Breaker()
        self.control = Control(settings, self._access, self._breaker)
        self.objects = Objects(self._access, self.control.provide, self._breaker)
        self._budget = Budget(_BYTES_IN_FLIGHT)
        self._assemblies = asyncio.Semaphore(_ASSEMBLIES)

    # Whole objects --------------------------------------------------------------------------------------------------

    @watched
    async def put(self, objects: Sequence[Small]) -> None:
        """In order: a later object is not begun before the earlier ones are there."""
        self._breaker.admit()
        for key, data in objects:
            await self.objects.put(key, data)

    @watched
    async def write(
        self, key: str, chunks: AsyncIterator[bytes], *, verify: Verify, remember: Remember, links: Sequence[Small] = ()
    ) -> Stat:
        self._breaker.admit()
        head = [bytearray()]
        async for chunk in chunks:
            head[0] += chunk
            if len(head[0]) > self.segment:
                break
        else:
            verify()
            await self.objects.put(key, head[0])
            await self.put(links)
            return Stat(len(head[0]), 0)
        async with self._multipart(key, remember) as upload:
            # Popped, so that this frame does not hold the first segment while all others pass.
            size = await self._send_parts(key, upload, head.pop(), chunks, verify)
        return await self._seal(key, size, links)

    async def _send_parts(self, key: str, upload: str, waiting: bytearray, chunks: AsyncIterator[bytes], verify: Verify) -> int:
        """All parts, then `verify`, then Complete; the size."""
        flights: list[asyncio.Task[str]] = []
        size = 0

        async def launch(data: bytearray) -> None:
            nonlocal size
            size += len(data)
            if len(flights) >= _WRITES:
                await flights[-_WRITES]
            held = await self._budget.take(len(data))
            flights.append(asyncio.create_task(self._send_part(key, upload, len(flights) + 1, data, held)))

        try:
            async for chunk in chunks:
                waiting += chunk
                while len(waiting) >= (limit := self._part << (len(flights) // _GROWS_EVERY)):
                    rest = waiting[limit:]
                    del waiting[limit:]  # cut exactly: some look-alikes want all parts but the last of one size
                    part, waiting = waiting, rest
                    await launch(part)
                    del part  # its flight holds it, as long as it needs it
            if waiting:
                await launch(waiting)
            etags = [await flight for flight in flights]
            verify()
        except BaseException:
            await uninterrupted(asyncio.gather(*flights, return_exceptions=True))
            raise
        await self._complete(key, upload, etags, size)
        return size

    async def _send_part(self, key: str, upload: str, number: int, data: bytearray, held: int) -> str:
        try:
            return await self.control.part(key, upload, number, data)
        finally:
            await self._budget.give(held)

    @watched
    async def read(self, key: str, start: int = 0, end: int | None = None) -> Content | None:
        return await self.objects.get(key, start, end)

    async def head(self, key: str) -> Stat | None:
        return await self.objects.head(key)

    @watched
    async def copy(self, source: str, target: str) -> None:
        """Raises Unavailable when there is no `source`."""
        stat = await self.objects.head(source)
        if stat is None:
            raise Unavailable("What should be copied is not there.")
        try:
            await self._copy(source, stat.size, target, _forget)
        except Refused as refused:
            raise refused.told("copy", source) from refused

    async def _copy(self, source: str, size: int, target: str, remember: Remember) -> None:
        if size <= _COPY_WHOLE:
            await self.objects.copy(source, target)
            return
        parts = [[Piece(source, at, min(at + _COPY_WHOLE, size))] for at in range(0, size, _COPY_WHOLE)]
        async with self._multipart(target, remember) as upload:
            await self._copy_parts(target, upload, parts, size)

    @watched
    async def delete(self, keys: Sequence[str]) -> list[str]:
        try:
            await self.objects.delete(keys)
        except CargoholdError:
            return [key for key in keys if await self.objects.head(key) is not None]
        return []

    def list(self, prefix: str, after: str = "") -> AsyncIterator[Entry]:
        return self.objects.list(prefix, after)

    async def list_dirs(self, prefix: str) -> AsyncIterator[str]:
        """Some look-alikes name for a while what has become empty, and sort folder by folder; Amazon's does neither."""
        for name in await self.objects.dirs(prefix):
            yield name

    # Uploads --------------------------------------------------------------------------------------------------------

    @watched
    async def stage(self, upload: str, offset: int, fence: int, data: bytes | bytearray | memoryview) -> str:
        if offset >= _PARTS * self.segment:
            raise StorageFull(f"An upload has at most {_PARTS} segments; raise storage.s3.segment.")
        self._breaker.admit()
        token = f"{offset:015d}-{fence}"
        held = await self._budget.take(len(data))
        try:
            await self.objects.put(staging(upload) + token, data)
        finally:
            await self._budget.give(held)
        return token

    @watched
    async def settle(self, upload: str) -> None:
        """A put is durable when it is answered."""

    async def read_staged(self, upload: str, segments: Sequence[Segment], start: int, end: int) -> AsyncIterator[bytes]:
        for piece in _pieces(upload, segments, start, end):
            content = await self.objects.get(*piece)
            if content is None:
                raise UploadUnknown
            async for chunk in content.chunks:
                yield chunk

    async def unstage(self, upload: str) -> None:
        page: list[str] = []
        async for entry in self.objects.list(staging(upload), ""):
            page.append(entry.key)
            if len(page) == _DELETE_PAGE:
                await self.objects.delete(page)
                page = []
        await self.objects.delete(page)

    @watched
    async def assemble(
        self, upload: str, segments: Sequence[Segment], size: int, key: str, *, remember: Remember, links: Sequence[Small] = ()
    ) -> Stat:
        """Raises UploadUnknown when segments are missing and the final object is not there either. Segments stay: `unstage`."""
        self._breaker.admit()
        pieces = list(_pieces(upload, segments, 0, size))
        if sum(piece.size for piece in pieces) != size:
            raise UploadUnknown
        whole = len(pieces) == 1 and pieces[0].size == segments[0].length
        async with self._assemblies:
            try:
                if not pieces:
                    await self.objects.put(key, b"")
                elif whole:
                    await self._copy(pieces[0].source, size, key, remember)
                else:
                    async with self._multipart(key, remember) as handle:
                        await self._copy_parts(key, handle, list(_parts(pieces)), size)
            except Refused as refused:  # a segment is gone: an earlier call finished, and its segments were swept
                stat = await self.objects.head(key)
                if stat is None or stat.size != size:
                    raise UploadUnknown from refused
        return await self._seal(key, size, links)

    async def _copy_parts(self, key: str, upload: str, parts: Sequence[Sequence[Piece]], size: int) -> None:
        """Builds `key` of parts, eight at once; a part of several small pieces goes through this process."""
        slots = asyncio.Semaphore(_COPIES)

        async def build(number: int, part: Sequence[Piece]) -> str:
            async with slots:
                if len(part) == 1:
                    return await self.control.part_copy(key, upload, number, *part[0])
                return await self.control.part(key, upload, number, await self._gather(part))

        flights = [asyncio.create_task(build(number, part)) for number, part in enumerate(parts, 1)]
        try:
            etags = list(await asyncio.gather(*flights))
        except BaseException:
            for flight in flights:
                flight.cancel()
            await uninterrupted(asyncio.gather(*flights, return_exceptions=True))
            raise
        await self._complete(key, upload, etags, size)

    async def _gather(self, part: Sequence[Piece]) -> bytearray:
        data = bytearray()
        for piece in part:
            content = await self.objects.get(*piece)
            if content is None:
                raise Refused(404, "NoSuchKey", "a segment is missing")
            async for chunk in content.chunks:
                data += chunk
        return data

    async def _complete(self, key: str, upload: str, etags: Sequence[str], size: int) -> None:
        try:
            await self.control.complete(key, upload, etags)
        except Refused as refused:  # the answer of a Complete that worked may get lost, then the second one finds no upload
            stat = await self.objects.head(key)
            if stat is None or stat.size != size:
                raise refused.told("CompleteMultipartUpload", key) from refused

    async def _seal(self, key: str, size: int, links: Sequence[Small]) -> Stat:
        """The object has the right size, then its links."""
        stat = await self.objects.head(key)
        if stat is None or stat.size != size:
            raise Unavailable("The object store has not stored what it was told to.")
        for link_key, data in links:
            await self.objects.put(link_key, data)
        return stat

    @asynccontextmanager
    async def _multipart(self, key: str, remember: Remember) -> AsyncIterator[str]:
        """A multipart upload under `key`; an error in the block aborts it. The block ends with Complete."""
        upload = await uninterrupted(self.control.create(key))
        try:
            await remember(f"{key} {upload}")
            yield upload
        except BaseException:
            with suppress(CargoholdError):
                await uninterrupted(self.control.abort(key, upload))
            raise

    async def abandon(self, handle: str) -> None:
        key, _, upload = handle.rpartition(" ")
        await self.control.abort(key, upload)

    # House ----------------------------------------------------------------------------------------------------------

    async def sign(self, key: str, ttl: float) -> str | None:
        return await self.control.sign(key, ttl)

    async def check(self) -> Sequence[Finding]:
        return await examine(self.objects, self.control)

    async def aclose(self) -> None:
        """Ends with a pause: obstore's threads must be idle before the process exits (objects.py tells why)."""
        await asyncio.get_running_loop().run_in_executor(None, self.control.close)
        await asyncio.sleep(_IDLE_BEFORE_EXIT)


async def _forget(_: str) -> None:
    """For a multipart upload of no upload session: what a crash leaves is for the lifecycle rule."""


def _pieces(upload: str, segments: Sequence[Segment], start: int, end: int) -> Iterator[Piece]:
    """What of each segment lies between `start` and `end`. Raises UploadUnknown when they do not follow one another."""
    expected = segments[0].offset if segments else 0
    for offset, length, token in segments:
        if offset != expected:
            raise UploadUnknown
        expected += length
        first, last = max(start, offset), min(end, expected)
        if first < last:
            yield Piece(staging(upload) + token, first - offset, last - offset)


def _parts(pieces: Sequence[Piece]) -> Iterator[list[Piece]]:
    """Pieces joined until every part but the last has the 5 MiB that S3 asks for; usually each piece is a part."""
    if len(pieces) > _PARTS:
        raise StorageFull(f"An object has at most {_PARTS} parts; raise storage.s3.segment.")
    part: list[Piece] = []
    for piece in pieces:
        part.append(piece)
        if sum(one.size for one in part) >= SMALLEST_PART:
            yield part
            part = []
    if part:
        yield part
