"""fsck: hold rows, bytes and links against each other, and say what does not fit.

| finding          | means                                              | repair                                      |
|------------------|----------------------------------------------------|---------------------------------------------|
| blob-missing     | a row without bytes                                | marked corrupt: 404 until it is pushed again |
| blob-corrupt     | bytes that are not what their digest says          | marked corrupt: never served                |
| manifest-missing | a manifest whose file is gone or other             | written again from the row                  |
| layer-link       | a layer link that is missing, empty or other       | written again                               |
| revision-link    | the same of a manifest                             | written again                               |
| tag-link         | a tag's current link that is missing or other      | written again                               |
| stray-link       | a link in the tree that no row knows               | none: kept, `cargohold db rebuild` reads it |

Reads every byte once (`--quick`: sizes only). Safe beside a running server: whatever it writes says what the rows say, and
marking a blob corrupt is undone by pushing it again. Callers: app.fsck.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec

from cargohold.content.adoption import repositories_in
from cargohold.content.queries import blobs, manifests, repositories, tags
from cargohold.content.queries.blobs import Blob
from cargohold.content.store import Store, stored_size
from cargohold.content.tree import mirror_layer, mirror_revision, mirror_tag
from cargohold.db.tables.content import CORRUPT, PRESENT
from cargohold.names import Digest, Malformed, RepoName, Tag
from cargohold.storage import keys
from cargohold.storage.driver import Small

_PAGE = 500
_OTHER_LINK = "the link is missing or says something else"


class Fault(msgspec.Struct, frozen=True):
    finding: str
    subject: str
    detail: str
    repaired: bool


async def check(store: Store, *, repair: bool, quick: bool = False) -> AsyncIterator[Fault]:
    """Every fault, as it is found."""
    async for fault in _check_blobs(store, repair=repair, quick=quick):
        yield fault
    after = ""
    while names := await repositories.page(store.db.now, after, _PAGE):
        for name in names:
            async for fault in _check_repository(store, RepoName(name), repair=repair):
                yield fault
        after = names[-1]
    async for fault in _strays(store):
        yield fault


async def _check_blobs(store: Store, *, repair: bool, quick: bool) -> AsyncIterator[Fault]:
    after = 0
    while found := await blobs.all_blobs(store.db.now, after, _PAGE):
        for blob in found:
            fault = await _check_blob(store, blob, repair=repair, quick=quick)
            if fault is not None:
                yield fault
        after = found[-1].id


async def _check_blob(store: Store, blob: Blob, *, repair: bool, quick: bool) -> Fault | None:
    stat = await store.driver.head(keys.blob(blob.digest))
    if stat is None:
        finding, detail = "blob-missing", "there are no bytes"
    elif stat.size != blob.size:
        finding, detail = "blob-corrupt", f"{stat.size} bytes are there, {blob.size} belong there"
    elif not quick and await stored_size(store.driver, blob.digest) != blob.size:
        finding, detail = "blob-corrupt", "the bytes have another digest"
    else:
        if repair and blob.state == CORRUPT:
            await store.db.write(blobs.judge_blob, blob.id, stat.mark, PRESENT)
        return None
    if repair and blob.state != CORRUPT:
        await store.db.write(blobs.judge_blob, blob.id, -1, CORRUPT)
    return Fault(finding, blob.digest, detail, repair)


async def _check_repository(store: Store, name: RepoName, *, repair: bool) -> AsyncIterator[Fault]:
    id = await repositories.repository_id(store.db.now, name)
    if id is None:
        return
    for check_links in (_check_layers, _check_manifests, _check_tags):
        async for fault in check_links(store, name, id, repair):
            yield fault


async def _check_layers(store: Store, name: RepoName, id: int, repair: bool) -> AsyncIterator[Fault]:
    after = 0
    while held := await blobs.linked_blobs(store.db.now, id, after, _PAGE):
        for blob in held:
            if blob.state == PRESENT and await _text(store, keys.layer(name, blob.digest)) != blob.digest:
                if repair:
                    await mirror_layer(store, name, blob.digest)
                yield Fault("layer-link", f"{name}@{blob.digest}", _OTHER_LINK, repair)
        after = held[-1].id


async def _check_manifests(store: Store, name: RepoName, id: int, repair: bool) -> AsyncIterator[Fault]:
    after = 0
    while found := await manifests.manifests_page(store.db.now, id, after, _PAGE):
        for manifest in found:
            if await stored_size(store.driver, manifest.digest) != len(manifest.body):
                if repair:
                    await store.driver.put([Small(keys.blob(manifest.digest), manifest.body)])
                yield Fault("manifest-missing", f"{name}@{manifest.digest}", "the file is gone or holds other bytes", repair)
            if await _text(store, keys.revision(name, manifest.digest)) != manifest.digest:
                if repair:
                    await mirror_revision(store, name, manifest.digest)
                yield Fault("revision-link", f"{name}@{manifest.digest}", _OTHER_LINK, repair)
        after = found[-1].id


async def _check_tags(store: Store, name: RepoName, id: int, repair: bool) -> AsyncIterator[Fault]:
    after = ""
    while found := await tags.tag_rows(store.db.now, id, after, _PAGE):
        for row in found:
            if await _text(store, keys.tag_current(name, Tag(row.name))) != row.digest:
                if repair:
                    await mirror_tag(store, name, Tag(row.name))
                yield Fault("tag-link", f"{name}:{row.name}", _OTHER_LINK, repair)
        after = found[-1].name


async def _strays(store: Store) -> AsyncIterator[Fault]:
    """Tags and manifests that only the tree knows: another program wrote there."""
    async for name in repositories_in(store):
        async for tag in store.driver.list_dirs(keys.tags(name)):
            text = await _text(store, f"{keys.tags(name)}{tag}/current/link")
            if text and await tags.tag_digest(store.db.now, name, Tag(tag)) is None:
                yield Fault("stray-link", f"{name}:{tag}", f"the tree has this tag, on {text}; no row has", repaired=False)
        async for algorithm in store.driver.list_dirs(keys.revisions(name)):
            async for encoded in store.driver.list_dirs(f"{keys.revisions(name)}{algorithm}/"):
                try:
                    digest = Digest.parse(f"{algorithm}:{encoded}")
                except Malformed:
                    continue
                text = await _text(store, keys.revision(name, digest))
                if text == digest and await manifests.manifest_by_digest(store.db.now, name, digest) is None:
                    yield Fault("stray-link", f"{name}@{digest}", "the tree has this manifest; no row has", repaired=False)


async def _text(store: Store, key: str) -> str:
    content = await store.driver.read(key)
    if content is None or content.stat.size > 256:
        return ""
    return b"".join([chunk async for chunk in content.chunks]).decode("ascii", "replace")
