"""Manifests: push, find, delete; and the tags that point to them (OCI end-3, end-7, end-9).

    push: parse --> all that it names is in this repository? --> data, revision and history links --> one short write
          (asks again) --> tag link --> referrers' fallback tag --> answer

Invariants
- The bytes are stored as they came and served as they were stored.
- A manifest is accepted only when every config, layer (without urls) and child is held by the repository; a child may be a
  blob (BuildKit's cache index). The question is asked again inside the write, so a delete in between refuses the push.
- Deleting a manifest deletes the tags on it; deleting a tag deletes the tag alone.
"""

from __future__ import annotations

from cargohold.auth.identity import Actor
from cargohold.content import referrers
from cargohold.content.formats import DOCKER_LIST, Parsed, parse, platform_child
from cargohold.content.queries import blobs
from cargohold.content.queries import manifests as rows
from cargohold.content.queries import tags as tag_rows
from cargohold.content.queries.manifests import Manifest
from cargohold.content.queries.repositories import ensure_repository, repository_id
from cargohold.content.store import Store, utc_now
from cargohold.content.tree import keep_revision, mirror_revision, mirror_tag
from cargohold.db.work import Reader, Work
from cargohold.errors import DigestInvalid, ManifestInvalid, ManifestUnknown, ReferencesUnknown
from cargohold.events import ManifestDeleted, ManifestPushed, TagDeleted
from cargohold.names import Digest, Reference, RepoName, Tag
from cargohold.storage import keys
from cargohold.storage.driver import Small
from cargohold.telemetry import metrics


async def find(store: Store, repository: RepoName, reference: Reference) -> Manifest:
    found = await _look(store.db.now, repository, reference)
    if found is None and store.adoption is not None and await store.adopt(repository):
        found = await _look(store.db.now, repository, reference)
    if found is None:
        raise ManifestUnknown(reference=reference)
    return found


async def pull(store: Store, actor: Actor, repository: RepoName, reference: Reference, accepts_lists: bool) -> Manifest:
    """The manifest as a client gets it: a docker list, asked for by tag by who knows no lists, gives its linux/amd64 child."""
    found = await find(store, repository, reference)
    if found.media_type == DOCKER_LIST and not accepts_lists and isinstance(reference, Tag):
        child = platform_child(found.body, "linux", "amd64")
        if child is not None:
            found = await find(store, repository, child)
    for gate in store.gates.before_pull:
        await gate(actor, repository, found.digest)
    return found


async def _look(r: Reader, repository: RepoName, reference: Reference) -> Manifest | None:
    if isinstance(reference, Digest):
        return await rows.manifest_by_digest(r, repository, reference)
    return await rows.manifest_by_tag(r, repository, reference)


async def push(
    store: Store, actor: Actor, repository: RepoName, reference: Reference, body: bytes, content_type: str, request: str
) -> tuple[Digest, Parsed]:
    for gate in store.gates.before_push:
        await gate(actor, repository, reference)
    digest = Digest.of(body, reference.algorithm if isinstance(reference, Digest) else "sha256")
    if isinstance(reference, Digest) and digest != reference:
        raise DigestInvalid("the digest in the path is not the digest of the manifest that came", digest=reference, received=digest)
    parsed = parse(body, content_type, depth=store.limits.json_depth, references=store.limits.references)
    await store.adopt(repository)
    await _require(store.db.now, await repository_id(store.db.now, repository), parsed)
    tag = reference if isinstance(reference, Tag) else None
    small = [Small(keys.blob(digest), body), Small(keys.revision(repository, digest), digest.encode())]
    if tag is not None:
        small.append(Small(keys.tag_history(repository, tag, digest), digest.encode()))
    await store.driver.put(small)
    await store.db.write(_push, repository, tag, digest, parsed, body, actor.name, request)
    await keep_revision(store, repository, digest)
    metrics.pushed_manifests.add()
    if tag is not None:
        await mirror_tag(store, repository, tag)
    if parsed.subject is not None:
        await referrers.keep_fallback(store, actor, repository, parsed.subject, request)
    for gate in store.gates.after_push:
        await gate(actor, repository, reference)
    return digest, parsed


async def _push(
    work: Work, repository: RepoName, tag: Tag | None, digest: Digest, parsed: Parsed, body: bytes, actor: str, request: str
) -> None:
    now = utc_now()
    id = await ensure_repository(work, repository, now)
    await _require(work, id, parsed, keep=True)
    manifest = await rows.store_manifest(work, id, digest, parsed, body, now)
    if tag is not None:
        await tag_rows.set_tag(work, id, tag, manifest, now)
    work.emit(
        ManifestPushed(
            repository=repository, digest=digest, media_type=parsed.media_type, size=len(body), tag=tag, actor=actor, request=request
        )
    )


async def _require(r: Reader, id: int | None, parsed: Parsed, *, keep: bool = False) -> None:
    """Raises ReferencesUnknown with every digest that the repository does not hold, ManifestInvalid for a wrong size.

    `keep`: what it holds stays until the unit ends.
    """
    missing = []
    needed = [("config", parsed.config)] if parsed.config else []
    needed += [(f"layers[{number}]", layer) for number, layer in enumerate(parsed.layers) if not layer.urls]
    for field, item in needed:
        blob = None if id is None else await blobs.blob_in_id(r, id, item.digest, keep=keep)
        if blob is None:
            missing.append(item.digest)
        elif blob.size != item.size:
            raise ManifestInvalid(
                f"{field}.size is {item.size}, but the blob has {blob.size} bytes", field=f"{field}.size", digest=item.digest
            )
    for child in parsed.children:
        if id is None or not await _holds(r, id, child.digest, keep):
            missing.append(child.digest)
    if missing:
        raise ReferencesUnknown([str(digest) for digest in dict.fromkeys(missing)])


async def _holds(r: Reader, id: int, child: Digest, keep: bool) -> bool:
    return await rows.manifest_id(r, id, child, keep=keep) is not None or await blobs.blob_in_id(r, id, child, keep=keep) is not None


async def delete(store: Store, actor: Actor, repository: RepoName, reference: Reference, request: str) -> None:
    """By digest: the manifest and every tag on it. By tag: that tag alone."""
    for gate in store.gates.before_delete:
        await gate(actor, repository, reference)
    found = await find(store, repository, reference)
    if isinstance(reference, Tag):
        if not await store.db.write(_untag, repository, reference, found.digest, actor.name, request):
            raise ManifestUnknown(reference=reference)
        await mirror_tag(store, repository, reference)
        return
    subject = await rows.subject_of(store.db.now, found.id)
    gone = await store.db.write(_delete, repository, reference, actor.name, request)
    if gone is None:
        raise ManifestUnknown(reference=reference)
    await mirror_revision(store, repository, reference)
    for tag in gone:
        await mirror_tag(store, repository, tag)
    if subject is not None:
        await referrers.keep_fallback(store, actor, repository, subject, request)


async def _untag(work: Work, repository: RepoName, tag: Tag, digest: Digest, actor: str, request: str) -> bool:
    id = await repository_id(work, repository)
    if id is None or not await tag_rows.delete_tag(work, id, tag):
        return False
    work.emit(TagDeleted(repository=repository, tag=tag, digest=digest, actor=actor, request=request))
    return True


async def _delete(work: Work, repository: RepoName, digest: Digest, actor: str, request: str) -> list[Tag] | None:
    id = await repository_id(work, repository)
    found = None if id is None else await rows.manifest_to_delete(work, id, digest)
    if found is None:
        return None
    tags = [Tag(name) for name in await tag_rows.delete_tags_of(work, found)]
    await rows.delete_manifest(work, found)
    work.emit(ManifestDeleted(repository=repository, digest=digest, tags=tags, actor=actor, request=request))
    return tags
