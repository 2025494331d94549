"""Links of the tree made to say what the rows say: tags, revisions, layers.

    rows change --commit--> mirror_* --put or delete the link, look at the row again, until both agree--> answer

Two writers that race for one tag may commit and write their links in different orders; looking again after the write makes
the last commit win in the tree too, without a lock. After a crash between commit and link, or a link that could not be written,
content/journal.py calls the same functions. Before a row: data, revision and layer links are written by the pushes themselves.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress

from cargohold.content.queries import blobs, manifests, tags
from cargohold.content.queries.journal import set_meta
from cargohold.content.store import Store
from cargohold.errors import CargoholdError, Unavailable
from cargohold.names import Digest, RepoName, Tag
from cargohold.storage import keys
from cargohold.storage.driver import Small

BEHIND = "tree_behind"
"""Key in `meta`: there while some link could not be made to say what its row says."""


async def mirror_tag(store: Store, repository: RepoName, tag: Tag) -> None:
    async def wanted() -> Digest | None:
        return await tags.tag_digest(store.db.now, repository, tag)

    async def write(digest: Digest | None) -> None:
        if digest is None:
            await delete_below(store, keys.tag(repository, tag))
        else:
            await store.driver.put([Small(keys.tag_current(repository, tag), digest.encode())])

    await _until_equal(store, wanted, write)


async def mirror_revision(store: Store, repository: RepoName, digest: Digest) -> None:
    async def wanted() -> Digest | None:
        found = await manifests.manifest_by_digest(store.db.now, repository, digest)
        return found.digest if found else None

    await _until_equal(store, wanted, _link(store, keys.revision(repository, digest), digest))


async def mirror_history(store: Store, repository: RepoName, tag: Tag, digest: Digest) -> None:
    """A tag that is still there keeps what it once pointed to; one that is gone has no history."""
    if await tags.tag_digest(store.db.now, repository, tag) is not None:
        await store.driver.put([Small(keys.tag_history(repository, tag, digest), digest.encode())])


async def mirror_layer(store: Store, repository: RepoName, digest: Digest) -> None:
    async def wanted() -> Digest | None:
        found = await blobs.blob_in(store.db.now, repository, digest)
        return found.digest if found else None

    await _until_equal(store, wanted, _link(store, keys.layer(repository, digest), digest))


async def keep_revision(store: Store, repository: RepoName, digest: Digest) -> None:
    """After the row of a push: a delete of the same manifest that raced with it may have taken the link."""
    if await store.driver.head(keys.revision(repository, digest)) is None:
        await mirror_revision(store, repository, digest)


async def keep_layer(store: Store, repository: RepoName, digest: Digest) -> None:
    """The same for a blob."""
    if await store.driver.head(keys.layer(repository, digest)) is None:
        await mirror_layer(store, repository, digest)


async def delete_below(store: Store, prefix: str) -> None:
    await _delete(store, [entry.key async for entry in store.driver.list(prefix)])


async def _delete(store: Store, found: list[str]) -> None:
    left = await store.driver.delete(found)
    if left:
        raise Unavailable("The store did not remove what it was told to.", keys=left[:5])


def _link(store: Store, key: str, digest: Digest) -> Callable[[Digest | None], Awaitable[None]]:
    async def write(wanted: Digest | None) -> None:
        if wanted is None:
            await _delete(store, [key])
        else:
            await store.driver.put([Small(key, digest.encode())])

    return write


async def _until_equal(
    store: Store, wanted: Callable[[], Awaitable[Digest | None]], write: Callable[[Digest | None], Awaitable[None]]
) -> None:
    try:
        target = await wanted()
        while True:
            await write(target)
            now = await wanted()
            if now == target:
                return
            target = now
    except CargoholdError:
        with suppress(CargoholdError):
            await store.db.note(set_meta, BEHIND, "behind")
        raise
