"""The store: what every rule of images works on - database, driver, caps, gates - and the leases of blobs.

Invariants
- A blob that was told to be there (upload, HEAD, mount) is leased for LEASE from that answer on, so garbage collection
  cannot take it before the manifest that will name it arrives. A lease is renewed when less than half of it is left: a hot
  HEAD stays a read.
- Bytes that are not what they were are never served: a file whose mark differs from its row is hashed again first.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from cargohold.config.settings import Limits
from cargohold.content.gates import Gates
from cargohold.content.hashing import Hashes
from cargohold.content.queries import blobs as rows
from cargohold.content.queries.blobs import Blob
from cargohold.db.tables.content import CORRUPT, PRESENT
from cargohold.db.work import Database, Work
from cargohold.errors import CargoholdError, Corrupt, StorageFull
from cargohold.names import Digest, RepoName
from cargohold.storage import keys
from cargohold.storage.driver import Barrier, Driver, LocalFiles, Redirects, Stat
from cargohold.telemetry import log

LEASE = timedelta(hours=2)
_HALF = LEASE // timedelta(microseconds=2)


def utc_now() -> datetime:
    return datetime.now(UTC)


class Adopts(Protocol):
    """Who makes rows for repositories that only the tree knows (content/adoption.py)."""

    async def ensure(self, repository: RepoName) -> bool: ...
    async def names_known(self) -> None: ...


class Store:
    def __init__(self, db: Database, driver: Driver, limits: Limits, gates: Gates) -> None:
        self.db, self.driver, self.limits, self.gates = db, driver, limits, gates
        self.files = driver if isinstance(driver, LocalFiles) else None
        """The driver again, where objects are files of this machine (asked here once: the question costs 20 us)."""
        self.barrier = driver if isinstance(driver, Barrier) else None
        self.redirects = driver if isinstance(driver, Redirects) else None
        self.adoption: Adopts | None = None
        self.hashes = Hashes()
        self.uploads_full = False
        """As many uploads are open as limits.uploads allows (content/sweeper.py: look)."""

        self._verifying: dict[Digest, asyncio.Task[bool]] = {}
        self._later: set[asyncio.Task[None]] = set()

    def later(self, work: Coroutine[Any, Any, None]) -> None:
        """Run what no answer has to wait for, and what somebody does again if it fails; `settle` waits for all of it."""
        task = asyncio.get_running_loop().create_task(_tolerant(work))
        self._later.add(task)
        task.add_done_callback(self._later.discard)

    async def settle(self) -> None:
        await asyncio.gather(*self._later, return_exceptions=True)

    async def mark(self, digest: Digest) -> int:
        """The driver's mark of bytes that were just stored; 0 where marks are not known, without a request."""
        if self.files is None:
            return 0
        stat = await self.driver.head(keys.blob(digest))
        return stat.mark if stat else 0

    async def has_bytes(self, blob: Blob) -> bool:
        """Are its bytes there, as they were?"""
        return await self.driver.head(keys.blob(blob.digest)) == Stat(blob.size, blob.mark)

    async def adopt(self, repository: RepoName) -> bool:
        """After a miss: True when the tree held that repository and its rows are there now, so that looking again pays."""
        return self.adoption is not None and await self.adoption.ensure(repository)

    async def blob(self, repository: RepoName, digest: Digest) -> Blob | None:
        found = await rows.blob_in(self.db.now, repository, digest)
        if found is None and self.adoption is not None and await self.adoption.ensure(repository):
            found = await rows.blob_in(self.db.now, repository, digest)
        return found

    async def lease(self, blob: Blob) -> None:
        """On a full disk reads go on: nothing can be collected there either, and a push asks for its blobs again."""
        if blob.leased_until - time.time_ns() // 1000 < _HALF:
            with suppress(StorageFull):
                await self.db.note(_lease, blob.id, utc_now() + LEASE)

    async def verify(self, blob: Blob, mark: int) -> None:
        """Read the stored bytes again; raises Corrupt when they are not the blob. Called when size or mark are not as they were."""
        running = self._verifying.get(blob.digest)
        if running is None:  # many may ask for one blob at once: its bytes are read once for all of them
            running = self._verifying[blob.digest] = asyncio.get_running_loop().create_task(self._judge(blob, mark))
            running.add_done_callback(lambda _: self._verifying.pop(blob.digest, None))
        if not await asyncio.shield(running):
            raise Corrupt(digest=blob.digest)

    async def _judge(self, blob: Blob, mark: int) -> bool:
        whole = await stored_size(self.driver, blob.digest) == blob.size
        await self.db.write(rows.judge_blob, blob.id, mark, PRESENT if whole else CORRUPT)
        return whole


async def stored_size(driver: Driver, digest: Digest) -> int:
    """Size of the stored bytes if they hash to the digest, else -1."""
    content = await driver.read(keys.blob(digest))
    if content is None:
        return -1
    hasher, size = digest.hasher(), 0
    async for chunk in content.chunks:
        await asyncio.to_thread(hasher.update, chunk)
        size += len(chunk)
    return size if hasher.hexdigest() == digest.encoded else -1


async def _tolerant(work: Coroutine[Any, Any, None]) -> None:
    try:
        await work
    except CargoholdError as error:
        log.warning("work that can wait failed", why=str(error))


async def _lease(work: Work, blob_id: int, until: datetime) -> None:
    await rows.lease_blob(work, blob_id, until)
