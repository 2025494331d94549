"""The memory twin: the whole driver protocol in two dicts, for tests and for `storage.driver: inmemory`.

It passes the same contract suite as the others. One process only: two workers would each have a registry of their own.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from cargohold.errors import UploadUnknown
from cargohold.storage.driver import Content, Entry, Finding, Remember, Segment, Small, Stat, Verify

_CHUNK = 256 << 10


class _Staged:
    def __init__(self) -> None:
        self.fence, self.data = 0, bytearray()


class MemoryDriver:
    name = "inmemory"
    segment = 1 << 20
    records = False

    def __init__(self) -> None:
        self._objects: dict[str, bytes] = {}
        self._uploads: dict[str, _Staged] = {}

    async def put(self, objects: Sequence[Small]) -> None:
        for key, data in objects:
            self._objects[key] = bytes(data)

    async def write(
        self, key: str, chunks: AsyncIterator[bytes], *, verify: Verify, remember: Remember, links: Sequence[Small] = ()
    ) -> Stat:
        data = bytearray()
        async for chunk in chunks:
            data += chunk
        verify()
        await self.put([Small(key, bytes(data)), *links])
        return self._stat(key)

    async def read(self, key: str, start: int = 0, end: int | None = None) -> Content | None:
        if key not in self._objects:
            return None
        data = self._objects[key]
        return Content(self._stat(key), _pieces(data, start, len(data) if end is None else min(end, len(data))))

    async def head(self, key: str) -> Stat | None:
        return self._stat(key) if key in self._objects else None

    def _stat(self, key: str) -> Stat:
        return Stat(len(self._objects[key]), 0)

    async def copy(self, source: str, target: str) -> None:
        await self.put([Small(target, self._objects[source])])

    async def delete(self, keys: Sequence[str]) -> list[str]:
        for key in keys:
            self._objects.pop(key, None)
        return []

    async def list(self, prefix: str, after: str = "") -> AsyncIterator[Entry]:
        for key in sorted(key for key in self._objects if key.startswith(prefix) and key > after):
            if key in self._objects:
                yield Entry(key, len(self._objects[key]))

    async def list_dirs(self, prefix: str) -> AsyncIterator[str]:
        below = {key[len(prefix) :].partition("/") for key in self._objects if key.startswith(prefix)}
        for name in sorted({name + "/" for name, slash, _ in below if slash}):
            yield name[:-1]

    async def stage(self, upload: str, offset: int, fence: int, data: bytes | bytearray | memoryview) -> str:
        staged = self._uploads.get(upload) or _Staged()
        if fence < staged.fence or offset > len(staged.data):
            raise UploadUnknown
        staged.fence = fence
        staged.data[offset : offset + len(data)] = data
        self._uploads[upload] = staged
        return ""

    async def settle(self, upload: str) -> None:
        """Memory has nothing to sync."""

    async def read_staged(self, upload: str, segments: Sequence[Segment], start: int, end: int) -> AsyncIterator[bytes]:
        if start >= end:
            return
        if upload not in self._uploads or end > len(self._uploads[upload].data):
            raise UploadUnknown
        async for piece in _pieces(self._uploads[upload].data, start, end):
            yield piece

    async def unstage(self, upload: str) -> None:
        self._uploads.pop(upload, None)

    async def assemble(
        self, upload: str, segments: Sequence[Segment], size: int, key: str, *, remember: Remember, links: Sequence[Small] = ()
    ) -> Stat:
        staged = self._uploads.get(upload) or _Staged()
        if len(staged.data) >= size and (upload in self._uploads or size == 0):
            await self.put([Small(key, bytes(staged.data[:size])), *links])
            self._uploads.pop(upload, None)
        elif key in self._objects and len(self._objects[key]) == size:
            await self.put(links)
        else:
            raise UploadUnknown
        return self._stat(key)

    async def abandon(self, handle: str) -> None:
        """There are no handles here."""

    async def check(self) -> Sequence[Finding]:
        return [Finding("memory is there as long as this process is", "")]

    async def aclose(self) -> None:
        self._objects.clear()
        self._uploads.clear()


async def _pieces(data: bytes | bytearray, start: int, end: int) -> AsyncIterator[bytes]:
    for at in range(start, end, _CHUNK):
        yield bytes(data[at : min(at + _CHUNK, end)])
