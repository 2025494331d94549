"""Blobs: find, open for reading, mount into another repository, take out of one.

A blob's bytes lie once under `blobs/`; that a repository holds it is a row and a layer link. Deleting removes row and link;
the bytes stay until garbage collection. What another repository holds is never told apart from what nobody holds.
"""

from __future__ import annotations

from cargohold.auth.identity import Actor
from cargohold.auth.permissions import Action, can
from cargohold.auth.permissions import repository as target
from cargohold.content.queries import blobs as rows
from cargohold.content.queries.blobs import Blob
from cargohold.content.queries.repositories import ensure_repository
from cargohold.content.store import LEASE, Store, utc_now
from cargohold.content.tree import keep_layer, mirror_layer
from cargohold.db.work import Work
from cargohold.errors import BlobUnknown
from cargohold.events import BlobDeleted, BlobMounted
from cargohold.names import Digest, RepoName
from cargohold.storage import keys
from cargohold.storage.driver import Small

_CANDIDATES = 20


async def find(store: Store, repository: RepoName, digest: Digest) -> Blob:
    found = await store.blob(repository, digest)
    if found is None:
        raise BlobUnknown(digest=digest)
    return found


async def mount(store: Store, actor: Actor, repository: RepoName, digest: Digest, source: RepoName | None, request: str) -> bool:
    """False when the blob is not in `source`, or `source` is not the actor's to read: the two look the same.

    Without a source any repository that the actor may read will do (OCI end-11, automatic content discovery).
    """
    origin = await _origin(store, actor, digest, source)
    if origin is None:
        return False
    holder, blob = origin
    for gate in store.gates.before_push:
        await gate(actor, repository, None)
    await store.adopt(repository)
    await store.driver.put([Small(keys.layer(repository, digest), digest.encode())])
    mounted = await store.db.write(_mount, blob, repository, holder, actor.name, request)
    await (keep_layer if mounted else mirror_layer)(store, repository, digest)
    return mounted


async def _origin(store: Store, actor: Actor, digest: Digest, source: RepoName | None) -> tuple[RepoName, Blob] | None:
    if source is not None:
        candidates = [source]
    else:
        candidates = [RepoName(name) for name in await rows.holders(store.db.now, digest, _CANDIDATES)]
    for name in candidates:
        if can(actor, Action.PULL, target(name)):
            blob = await store.blob(name, digest)
            if blob is not None:
                return name, blob
    return None


async def _mount(work: Work, blob: Blob, repository: RepoName, source: RepoName, actor: str, request: str) -> bool:
    now = utc_now()
    if await rows.blob_in(work, source, blob.digest) is None:
        return False
    await rows.lease_blob(work, blob.id, now + LEASE)
    if await rows.link_blob(work, await ensure_repository(work, repository, now), blob.id):
        work.emit(BlobMounted(repository=repository, digest=blob.digest, size=blob.size, source=source, actor=actor, request=request))
    return True


async def delete(store: Store, actor: Actor, repository: RepoName, digest: Digest, request: str) -> None:
    for gate in store.gates.before_delete:
        await gate(actor, repository, digest)
    await find(store, repository, digest)
    if not await store.db.write(_delete, repository, digest, actor.name, request):
        raise BlobUnknown(digest=digest)
    await mirror_layer(store, repository, digest)


async def _delete(work: Work, repository: RepoName, digest: Digest, actor: str, request: str) -> bool:
    if not await rows.unlink_blob(work, repository, digest):
        return False
    work.emit(BlobDeleted(repository=repository, digest=digest, actor=actor, request=request))
    return True
