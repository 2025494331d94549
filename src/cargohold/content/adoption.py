"""Adoption: rows for what a tree of `registry:2` holds already, repository by repository, without stopping anything.

    not adopted --first touch, or the scan--> importing --> adopted         tree --scan done--> whole ("tree" in meta)

A repository without rows is looked up in the tree when it is first asked for; beside that one worker scans the whole tree
once, so that the catalog is complete. Once the scan is done, a miss is a miss and the tree is never asked again.

Tolerated, counted and left as they are: empty or unparsable links, links whose data is gone, foreign files, schema 1
manifests, revisions without tags, tags without a current link. Bytes of manifests are hashed before they are believed;
bytes of blobs are believed by their size and hashed when their file changes (content/store.py).
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import TypeVar

import msgspec

from cargohold.content.formats import Parsed, parse
from cargohold.content.queries import blobs as blob_rows
from cargohold.content.queries import journal, wipe
from cargohold.content.queries import manifests as manifest_rows
from cargohold.content.queries import tags as tag_rows
from cargohold.content.queries.repositories import ensure_repository, repository_id
from cargohold.content.store import LEASE, Store, utc_now
from cargohold.db.work import Work
from cargohold.errors import ManifestInvalid
from cargohold.names import Digest, Malformed, RepoName, Tag
from cargohold.storage import keys
from cargohold.telemetry import log

T = TypeVar("T")
R = TypeVar("R")

_BATCH = 500
_BATCH_BYTES = 8 << 20
_AT_ONCE = 8
_LINK_LIMIT = 256
_NAMES_PATIENCE = 10.0
_POLL = 0.05
DONE = "tree"
"""Key in `meta`: its value is `whole` when every repository of the tree has its rows."""


class FoundBlob(msgspec.Struct, frozen=True):
    digest: Digest
    size: int
    mark: int


class FoundManifest(msgspec.Struct, frozen=True):
    digest: Digest
    parsed: Parsed
    body: bytes


class FoundTag(msgspec.Struct, frozen=True):
    tag: Tag
    digest: Digest


Found = FoundBlob | FoundManifest | FoundTag


class _Batch:
    """Rows of one unit; manifests bring their bodies, so bytes count too."""

    def __init__(self) -> None:
        self.items: list[Found] = []
        self._bytes = 0

    def add(self, item: Found) -> None:
        self.items.append(item)
        if isinstance(item, FoundManifest):
            self._bytes += len(item.body)

    @property
    def full(self) -> bool:
        return len(self.items) >= _BATCH or self._bytes >= _BATCH_BYTES


class Tally(msgspec.Struct):
    repositories: int = 0
    manifests: int = 0
    blobs: int = 0
    tags: int = 0
    passed_over: int = 0


class Adoption:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._whole = False
        self._patience = time.monotonic() + _NAMES_PATIENCE
        self._locks: dict[RepoName, asyncio.Lock] = {}
        self.tally = Tally()

    async def ensure(self, repository: RepoName) -> bool:
        """True when the repository was in the tree and has its rows now; False when there is nothing to adopt."""
        if self._whole or await self._is_whole() or await self._has_rows(repository):
            return False
        lock = self._locks.setdefault(repository, asyncio.Lock())
        try:
            async with lock:
                return await self._has_rows(repository) or await self._adopt(repository)
        finally:
            self._locks.pop(repository, None)

    async def _has_rows(self, repository: RepoName) -> bool:
        """All of them: an import that was cut off is taken up again."""
        now = self._store.db.now
        return await repository_id(now, repository) is not None and await journal.get_meta(now, _running(repository)) is None

    async def names_known(self) -> None:
        """Wait a little for the scan: a catalog right after the first start should be complete."""
        while not self._whole and not await self._is_whole():
            if time.monotonic() > self._patience:
                return
            await asyncio.sleep(_POLL)

    async def scan(self) -> None:
        """Adopt every repository of the tree. Run by one worker; may be cut off and started again."""
        if await self._is_whole():
            return
        async for name in repositories_in(self._store):
            await self.ensure(name)
        await self._store.db.write(journal.set_meta, DONE, "whole")
        self._whole = True
        if self.tally.repositories:
            log.info("adopted the tree", **msgspec.structs.asdict(self.tally))

    async def _is_whole(self) -> bool:
        self._whole = await journal.get_meta(self._store.db.now, DONE) == "whole"
        return self._whole

    async def _adopt(self, repository: RepoName) -> bool:
        """Storage first, then rows: blobs, manifests, tags. A large repository goes in batches and is marked while it does."""
        batch = _Batch()
        running = False
        async for item in self._found(repository):
            batch.add(item)
            if batch.full:
                if not running and not await self._store.db.write(_begin, repository):
                    return True
                running = True
                await self._store.db.write(_import, repository, batch.items, last=False)
                batch = _Batch()
            self._count(item)
        if not batch.items and not running:
            return False
        await self._store.db.write(_import, repository, batch.items, last=True)
        self.tally.repositories += 1
        return True

    def _count(self, item: Found) -> None:
        match item:
            case FoundBlob():
                self.tally.blobs += 1
            case FoundManifest():
                self.tally.manifests += 1
            case FoundTag():
                self.tally.tags += 1

    async def _found(self, repository: RepoName) -> AsyncIterator[Found]:
        """What the tree holds of a repository, in the order in which rows need it."""
        async for blob in several(self._named(keys.layers(repository)), partial(self._blob, repository)):
            if blob is not None:
                yield blob
        known: set[Digest] = set()
        async for manifest in several(self._named(keys.revisions(repository)), partial(self._manifest, repository)):
            if manifest is not None:
                known.add(manifest.digest)
                yield manifest
        if known:
            async for tag in several(self._store.driver.list_dirs(keys.tags(repository)), partial(self._tag, repository, known)):
                if tag is not None:
                    yield tag

    async def _named(self, prefix: str) -> AsyncIterator[Digest]:
        """The digests that folders below `prefix` are named for."""
        async for algorithm in self._store.driver.list_dirs(prefix):
            async for encoded in self._store.driver.list_dirs(f"{prefix}{algorithm}/"):
                try:
                    yield Digest.parse(f"{algorithm}:{encoded}")
                except Malformed:
                    continue

    async def _blob(self, repository: RepoName, digest: Digest) -> FoundBlob | None:
        if not await self._is_linked(repository, keys.layer(repository, digest), digest):
            return None
        stat = await self._store.driver.head(keys.blob(digest))
        if stat is None:
            self._pass_over(repository, f"layer {digest} has no data")
            return None
        return FoundBlob(digest, stat.size, stat.mark)

    async def _manifest(self, repository: RepoName, digest: Digest) -> FoundManifest | None:
        if not await self._is_linked(repository, keys.revision(repository, digest), digest):
            return None
        body = await self._read(keys.blob(digest), self._store.limits.manifest_bytes)
        if body is None or Digest.of(body, digest.algorithm) != digest:
            self._pass_over(repository, f"manifest {digest} has no data, or other data")
            return None
        try:
            parsed = parse(body, "", depth=self._store.limits.json_depth, references=self._store.limits.references)
        except ManifestInvalid as error:
            self._pass_over(repository, f"manifest {digest}: {error}")
            return None
        return FoundManifest(digest, parsed, body)

    async def _tag(self, repository: RepoName, known: set[Digest], name: str) -> FoundTag | None:
        try:
            tag = Tag.parse(name)
        except Malformed:
            self._pass_over(repository, f"{name!r} is no tag")
            return None
        digest = await self._link(keys.tag_current(repository, tag))
        if digest is None or digest not in known:
            self._pass_over(repository, f"tag {tag} points to nothing")
            return None
        return FoundTag(tag, digest)

    async def _is_linked(self, repository: RepoName, key: str, digest: Digest) -> bool:
        """False for a link that is not what its folder says; a folder without a link is nothing to speak of."""
        if await self._link(key) == digest:
            return True
        if await self._store.driver.head(key) is not None:
            self._pass_over(repository, f"the link of {digest} says something else")
        return False

    async def _link(self, key: str) -> Digest | None:
        text = await self._read(key, _LINK_LIMIT)
        try:
            return Digest.parse(text.decode("ascii", "replace").strip()) if text else None
        except Malformed:
            return None

    async def _read(self, key: str, limit: int) -> bytes | None:
        content = await self._store.driver.read(key)
        if content is None or content.stat.size > limit:
            return None
        return b"".join([chunk async for chunk in content.chunks])

    def _pass_over(self, repository: RepoName, why: str) -> None:
        self.tally.passed_over += 1
        log.warning("passed over while adopting the tree", repository=repository, why=why)


async def forget_all(store: Store) -> None:
    """Every row that the tree can give again is dropped, in pages; the next scan reads the tree anew."""
    for step in wipe.STEPS:
        while await store.db.write(wipe.some, step):
            pass
    await store.db.write(journal.clear_meta, DONE)


async def repositories_in(store: Store, below: str = "") -> AsyncIterator[RepoName]:
    """Every repository of the tree, parents before children: folders that hold `_layers` or `_manifests`."""
    names = [name async for name in store.driver.list_dirs(keys.REPOSITORIES + below)]
    if below and ("_layers" in names or "_manifests" in names):
        try:
            yield RepoName.parse(below.removesuffix("/"))
        except Malformed as error:
            log.warning("passed over while adopting the tree", repository=below, why=str(error))
    for name in names:
        if not name.startswith("_"):
            async for found in repositories_in(store, f"{below}{name}/"):
                yield found


async def several(items: AsyncIterator[T], work: Callable[[T], Awaitable[R]]) -> AsyncIterator[R]:
    """Results in the order of the items; so many at once that the latency of a bucket does not add up."""
    flights: deque[asyncio.Task[R]] = deque()
    try:
        async for item in items:
            flights.append(asyncio.ensure_future(work(item)))
            if len(flights) == _AT_ONCE:
                yield await flights.popleft()
        while flights:
            yield await flights.popleft()
    finally:
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)


def _running(repository: RepoName) -> str:
    return f"adopting:{repository}"


async def _begin(work: Work, repository: RepoName) -> bool:
    """False when another worker has adopted it meanwhile: what was deleted since must not come back."""
    if await repository_id(work, repository) is not None and await journal.get_meta(work, _running(repository)) is None:
        return False
    await journal.set_meta(work, _running(repository), "running")
    return True


async def _import(work: Work, repository: RepoName, items: list[Found], *, last: bool) -> None:
    """Adds, never replaces: what was pushed since is newer than the tree."""
    if last and not await _begin(work, repository):
        return
    now = utc_now()
    id = await ensure_repository(work, repository, now)
    for item in items:
        match item:
            case FoundBlob():
                known = await blob_rows.blob_anywhere(work, item.digest)
                blob = known.id if known else await blob_rows.store_blob(work, item.digest, item.size, item.mark, now + LEASE, now)
                await blob_rows.link_blob(work, id, blob)
            case FoundManifest():
                if await manifest_rows.manifest_id(work, id, item.digest) is None:
                    await manifest_rows.store_manifest(work, id, item.digest, item.parsed, item.body, now)
            case FoundTag():
                target = await manifest_rows.manifest_id(work, id, item.digest, keep=True)
                if target is not None:
                    await tag_rows.add_tag(work, id, item.tag, target, now)
    if last:
        await journal.clear_meta(work, _running(repository))
