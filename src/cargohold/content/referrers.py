"""Referrers: which manifests name a digest as their subject (OCI end-12), and the fallback tag of clients without that API.

The list is a query, so a push shows up and a delete disappears at once, whether the subject is there or not. Clients of the
time before the API keep an index under the tag `<alg>-<hex>`; where a repository has such a tag, it is rewritten after each
push and delete of a referrer, so that old and new clients see the same set. Where it has none, none is made.
"""

from __future__ import annotations

from itertools import accumulate

import msgspec

from cargohold.auth.identity import Actor
from cargohold.content.formats import OCI_INDEX, Parsed, parse
from cargohold.content.queries import manifests as rows
from cargohold.content.queries import tags as tag_rows
from cargohold.content.queries.manifests import Referrer
from cargohold.content.queries.repositories import ensure_repository, repository_id
from cargohold.content.store import Store, utc_now
from cargohold.content.tree import keep_revision, mirror_revision, mirror_tag
from cargohold.db.work import Work
from cargohold.events import ManifestPushed
from cargohold.names import Digest, RepoName, Tag
from cargohold.storage import keys
from cargohold.storage.driver import Small
from cargohold.telemetry import log

PAGE_BYTES = 4 << 20
"""Referrers with large annotations fill a page before their number does: an answer is held in memory as a whole."""
_TURNS = 20


async def page(
    store: Store, repository: RepoName, subject: Digest, artifact_type: str | None, after: int
) -> tuple[list[Referrer], int | None]:
    """One page, and the mark behind which the next one starts. It ends early where its annotations may grow over `PAGE_BYTES`."""
    size = store.limits.referrers_page
    weights = await rows.referrer_sizes(store.db.now, repository, subject, artifact_type, after, size + 1)
    if not weights and store.adoption is not None and await store.adopt(repository):
        weights = await rows.referrer_sizes(store.db.now, repository, subject, artifact_type, after, size + 1)
    if not weights:
        return [], None
    totals = accumulate(item.size for item in weights)
    count = max(1, min(size, sum(total <= PAGE_BYTES for total in totals)))
    found = await rows.referrers(store.db.now, repository, subject, artifact_type, after, count)
    return found, weights[count - 1].id if len(weights) > count else None


def index(referrers: list[Referrer]) -> bytes:
    """The OCI index that tells of them."""
    return msgspec.json.encode(
        {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [_descriptor(item) for item in referrers]}, enc_hook=str
    )


def _descriptor(item: Referrer) -> dict[str, object]:
    found: dict[str, object] = {"mediaType": item.media_type, "digest": item.digest, "size": item.size}
    if item.artifact_type:
        found["artifactType"] = item.artifact_type
    if item.annotations:
        found["annotations"] = item.annotations
    return found


def fallback_tag(subject: Digest) -> Tag:
    return Tag(f"{subject.algorithm[:32]}-{subject.encoded[:64]}")


async def keep_fallback(store: Store, actor: Actor, repository: RepoName, subject: Digest, request: str) -> None:
    """Bring an existing fallback tag up to date with the list; entries that are no referrers of ours are kept.

    Who has written looks again: of two pushes that race, the later write may have been made from the shorter list.
    """
    tag = fallback_tag(subject)
    for _ in range(_TURNS):
        current = await rows.manifest_by_tag(store.db.now, repository, tag)
        if current is None or current.media_type != OCI_INDEX:
            return
        body = await _merged(store, repository, subject, current.body)
        if body is None:
            log.warning("a fallback tag stays as it is: the list has outgrown a manifest", repository=repository, tag=tag)
            return
        if Digest.of(body) == current.digest:
            return
        await _replace(store, actor, repository, tag, current.digest, body, request)
    log.warning("a fallback tag is behind: too many change it at once", repository=repository, tag=tag)


async def _replace(store: Store, actor: Actor, repository: RepoName, tag: Tag, old: Digest, body: bytes, request: str) -> None:
    digest = Digest.of(body)
    parsed = parse(body, OCI_INDEX, depth=store.limits.json_depth, references=store.limits.references)
    await store.driver.put(
        [
            Small(keys.blob(digest), body),
            Small(keys.revision(repository, digest), digest.encode()),
            Small(keys.tag_history(repository, tag, digest), digest.encode()),
        ]
    )
    moved = await store.db.write(_retag, repository, tag, old, digest, parsed, body, actor.name, request)
    await (keep_revision if moved else mirror_revision)(store, repository, digest)
    await mirror_tag(store, repository, tag)


async def _merged(store: Store, repository: RepoName, subject: Digest, body: bytes) -> bytes | None:
    """None when it would be larger than a manifest may be: such a list is for clients that know the API."""
    document = msgspec.json.decode(body)
    listed = {item["digest"] for item in document["manifests"]}
    entries = []
    id = await repository_id(store.db.now, repository) or 0
    for item in document["manifests"]:
        if await rows.manifest_id(store.db.now, id, Digest(item["digest"])) is not None:
            entries.append(item)
    room = store.limits.manifest_bytes
    after: int | None = 0
    while after is not None:
        found, after = await page(store, repository, subject, None, after)
        entries += [_descriptor(item) for item in found if item.digest not in listed]
        document["manifests"] = entries
        body = msgspec.json.encode(document, enc_hook=str)
        if len(body) > room or len(entries) > store.limits.references:
            return None
    return body


async def _retag(
    work: Work, repository: RepoName, tag: Tag, old: Digest, digest: Digest, parsed: Parsed, body: bytes, actor: str, request: str
) -> bool:
    """Nothing, and False, when the tag is no longer on `old`: a client that keeps it by itself must not lose its entry."""
    current = await rows.manifest_by_tag(work, repository, tag)
    if current is None or current.digest != old:
        return False
    now = utc_now()
    id = await ensure_repository(work, repository, now)
    manifest = await rows.store_manifest(work, id, digest, parsed, body, now)
    await tag_rows.set_tag(work, id, tag, manifest, now)
    work.emit(
        ManifestPushed(repository=repository, digest=digest, media_type=OCI_INDEX, size=len(body), tag=tag, actor=actor, request=request)
    )
    return True
