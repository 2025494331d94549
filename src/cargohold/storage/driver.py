"""What a blob store must be able to do: the `Driver` protocol, its optional capabilities, and the shapes it speaks in.

    stage --stage--> stage --settle--> assemble --> (object under its final key)
      `--unstage--> (gone)
    write --> (object under its final key, only if verify() agreed)

Invariants
- `put`, `write` and `assemble` are durable when they return (the driver's sync level may relax it) and atomic: a reader
  sees the whole object or none. They may be repeated.
- `links` of `write` and `assemble` become visible after the object itself and are durable together with it.
- Staged bytes are visible to nobody but through `read_staged`; they are durable after `settle`.
- A missing key is success for `delete`; keys are made by storage/keys.py alone.

Errors: `StorageFull` (ENOSPC, EDQUOT, 507, QuotaExceeded), `Unavailable` (all that may pass by itself), `UploadUnknown` (staged
bytes are gone, too few, or owned by a higher fence); anything else is a bug.
The contract suite is tests/storage/contract.py. Callers: content/, cli/ (fsck). Its shape: a bucket knows no rename and no append.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

OCTETS = "application/octet-stream"


class Stat(NamedTuple):
    """Size in bytes, and a mark that changes when the bytes may have (nanoseconds of mtime for files, 0 where unknown)."""

    size: int
    mark: int


class Entry(NamedTuple):
    key: str
    size: int


class Segment(NamedTuple):
    """A piece of an upload that a driver has staged; `token` is the driver's own name for it."""

    offset: int
    length: int
    token: str


class Small(NamedTuple):
    """A small object: its key and all of its bytes."""

    key: str
    data: bytes


class Content(NamedTuple):
    """Bytes on their way out: `stat` of the whole object, `chunks` of the asked part. Closing `chunks` ends the transfer."""

    stat: Stat
    chunks: AsyncIterator[bytes]


class Finding(NamedTuple):
    """One line of a self test; `fault` is empty when it passed, else it names the cause and the missing right."""

    step: str
    fault: str


Remember = Callable[[str], Awaitable[None]]
"""Awaited with a handle before bytes go out that only `abandon(handle)` can take back."""

Verify = Callable[[], None]
"""Called after the last byte; what it raises undoes the write and goes on to the caller."""


class Driver(Protocol):
    name: str
    segment: int
    """Bytes that one `stage` call should carry."""
    records: bool
    """True: the caller must keep every `Segment` in rows and hand them back, in order. False: the driver knows them by offset."""

    async def put(self, objects: Sequence[Small]) -> None: ...
    async def write(
        self, key: str, chunks: AsyncIterator[bytes], *, verify: Verify, remember: Remember, links: Sequence[Small] = ()
    ) -> Stat: ...
    async def read(self, key: str, start: int = 0, end: int | None = None) -> Content | None:
        """`end` is exclusive; None for a missing key."""

    async def head(self, key: str) -> Stat | None: ...
    async def copy(self, source: str, target: str) -> None: ...
    async def delete(self, keys: Sequence[str]) -> list[str]:
        """The keys that are still there."""

    def list(self, prefix: str, after: str = "") -> AsyncIterator[Entry]:
        """Every object below `prefix` in key order, from the first key greater than `after` (some look-alikes of S3 sort
        folder by folder instead; what is listed, and that `after` goes on behind its key, holds there too)."""

    def list_dirs(self, prefix: str) -> AsyncIterator[str]:
        """The names directly below `prefix` (which ends with /) that have something below them, in key order. A name that has
        just lost its last object may show for a while."""

    async def stage(self, upload: str, offset: int, fence: int, data: bytes | bytearray | memoryview) -> str: ...
    async def settle(self, upload: str) -> None: ...
    def read_staged(self, upload: str, segments: Sequence[Segment], start: int, end: int) -> AsyncIterator[bytes]: ...
    async def unstage(self, upload: str) -> None: ...
    async def assemble(
        self, upload: str, segments: Sequence[Segment], size: int, key: str, *, remember: Remember, links: Sequence[Small] = ()
    ) -> Stat: ...
    async def abandon(self, handle: str) -> None: ...
    async def check(self) -> Sequence[Finding]: ...
    async def aclose(self) -> None: ...


@runtime_checkable
class LocalFiles(Protocol):
    """Objects that are files of this machine: opened in the loop, sent by sendfile."""

    def open(self, key: str) -> tuple[int, Stat] | None:
        """A file descriptor of the caller's and its stat; None for a missing key."""


@runtime_checkable
class Redirects(Protocol):
    """Objects that a client can fetch by a signed URL."""

    async def sign(self, key: str, ttl: float) -> str | None: ...


@runtime_checkable
class Leftovers(Protocol):
    """Drivers whose crashed calls leave things that no row and no handle names."""

    async def sweep(self, older: float) -> int:
        """Removes what nobody touched for `older` seconds (a day is safe); how many."""


@runtime_checkable
class Barrier(Protocol):
    """Drivers that may leave the links of the tree to the disk's own time (`storage.sync: journal`)."""

    async def barrier(self) -> None:
        """All that was written before this call is on disk when it returns."""


@runtime_checkable
class Usage(Protocol):
    def free_bytes(self) -> int: ...
