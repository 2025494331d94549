"""SQL of manifests, what they reference, and who refers to whom."""

from __future__ import annotations

from datetime import datetime

import msgspec
from sqlalchemy import bindparam, delete, select

from cargohold.content.formats import Parsed
from cargohold.db.query import Query, insert
from cargohold.db.tables import manifest_references, manifests, repositories, tags
from cargohold.db.tables.content import CHILD, CONFIG, LAYER
from cargohold.db.work import Reader, Work
from cargohold.names import Digest, RepoName, Tag


class Manifest(msgspec.Struct, frozen=True):
    """A manifest as it is served: the bytes are those that were pushed."""

    id: int
    digest: Digest
    media_type: str
    body: bytes


class Referrer(msgspec.Struct, frozen=True):
    id: int
    digest: Digest
    media_type: str
    artifact_type: str | None
    size: int
    annotations: dict[str, str] | None


class Weight(msgspec.Struct, frozen=True):
    """A referrer before it is read: its annotations are no larger than its manifest."""

    id: int
    size: int


_SERVED = (manifests.c.id, manifests.c.digest, manifests.c.media_type, manifests.c.body)
_BY_DIGEST = Query(
    select(*_SERVED)
    .join(repositories, repositories.c.id == manifests.c.repository_id)
    .where(repositories.c.name == bindparam("repository"), manifests.c.digest == bindparam("digest")),
    Manifest,
)
_BY_TAG = Query(
    select(*_SERVED)
    .join(tags, tags.c.manifest_id == manifests.c.id)
    .join(repositories, repositories.c.id == tags.c.repository_id)
    .where(repositories.c.name == bindparam("repository"), tags.c.name == bindparam("tag")),
    Manifest,
)
_OF_ID = select(manifests.c.id).where(manifests.c.repository_id == bindparam("repository_id"), manifests.c.digest == bindparam("digest"))
_ID: Query[int] = Query(_OF_ID)
_KEPT_ID: Query[int] = Query(_OF_ID.with_for_update(read=True, key_share=True))
_OWNED_ID: Query[int] = Query(_OF_ID.with_for_update())
_STORE: Query[int] = Query(
    insert(manifests)
    .values(
        repository_id=bindparam("repository_id"),
        digest=bindparam("digest"),
        media_type=bindparam("media_type"),
        artifact_type=bindparam("artifact_type"),
        subject=bindparam("subject"),
        size=bindparam("size"),
        annotations=bindparam("annotations"),
        pushed_at=bindparam("now"),
        body=bindparam("body"),
    )
    .on_conflict_do_update(
        index_elements=["repository_id", "digest"],
        set_={"media_type": bindparam("media_type"), "pushed_at": bindparam("now")},
    )
    .returning(manifests.c.id)
)
_REFER: Query[int] = Query(
    insert(manifest_references)
    .values(manifest_id=bindparam("manifest_id"), digest=bindparam("digest"), kind=bindparam("kind"))
    .on_conflict_do_nothing(index_elements=["manifest_id", "digest"])
)
_FORGET: Query[int] = Query(delete(manifest_references).where(manifest_references.c.manifest_id == bindparam("manifest_id")))
_DELETE: Query[int] = Query(delete(manifests).where(manifests.c.id == bindparam("manifest_id")))
_REFERRERS = (
    select(
        manifests.c.id,
        manifests.c.digest,
        manifests.c.media_type,
        manifests.c.artifact_type,
        manifests.c.size,
        manifests.c.annotations,
    )
    .join(repositories, repositories.c.id == manifests.c.repository_id)
    .where(
        repositories.c.name == bindparam("repository"),
        manifests.c.subject == bindparam("subject"),
        manifests.c.id > bindparam("after"),
    )
    .order_by(manifests.c.id)
    .limit(bindparam("count"))
)
_REFERRERS_ALL = Query(_REFERRERS, Referrer)
_REFERRERS_OF_TYPE = Query(_REFERRERS.where(manifests.c.artifact_type == bindparam("artifact_type")), Referrer)
_SIZES = _REFERRERS.with_only_columns(manifests.c.id, manifests.c.size)
_SIZES_ALL = Query(_SIZES, Weight)
_SIZES_OF_TYPE = Query(_SIZES.where(manifests.c.artifact_type == bindparam("artifact_type")), Weight)
_SUBJECT: Query[Digest] = Query(select(manifests.c.subject).where(manifests.c.id == bindparam("manifest_id")))
_PAGE = Query(
    select(*_SERVED)
    .where(manifests.c.repository_id == bindparam("repository_id"), manifests.c.id > bindparam("after"))
    .order_by(manifests.c.id)
    .limit(bindparam("count")),
    Manifest,
)


async def manifest_by_digest(r: Reader, repository: RepoName, digest: Digest) -> Manifest | None:
    return await r.one(_BY_DIGEST, repository=repository, digest=digest)


async def manifest_by_tag(r: Reader, repository: RepoName, tag: Tag) -> Manifest | None:
    return await r.one(_BY_TAG, repository=repository, tag=tag)


async def manifest_id(r: Reader, repository_id: int, digest: Digest, *, keep: bool = False) -> int | None:
    """`keep`: nobody deletes it before this unit ends."""
    return await r.one(_KEPT_ID if keep else _ID, repository_id=repository_id, digest=digest)


async def manifest_to_delete(work: Work, repository_id: int, digest: Digest) -> int | None:
    """Its id; a push of the same manifest waits until this unit ends, so that no tag comes to it meanwhile."""
    return await work.one(_OWNED_ID, repository_id=repository_id, digest=digest)


async def store_manifest(work: Work, repository_id: int, digest: Digest, parsed: Parsed, body: bytes, now: datetime) -> int:
    """The manifest's id. Pushed again, the same bytes keep their row; a new Content-Type wins."""
    found = await work.one(
        _STORE,
        repository_id=repository_id,
        digest=digest,
        media_type=parsed.media_type,
        artifact_type=parsed.artifact_type,
        subject=parsed.subject,
        size=len(body),
        annotations=parsed.annotations,
        now=now,
        body=body,
    )
    assert found is not None
    for kind, items in ((CONFIG, (parsed.config,) if parsed.config else ()), (LAYER, parsed.layers), (CHILD, parsed.children)):
        for item in items:
            await work.run(_REFER, manifest_id=found, digest=item.digest, kind=kind)
    return found


async def delete_manifest(work: Work, id: int) -> int:
    await work.run(_FORGET, manifest_id=id)
    return await work.run(_DELETE, manifest_id=id)


async def referrers(r: Reader, repository: RepoName, subject: Digest, artifact_type: str | None, after: int, count: int) -> list[Referrer]:
    """Manifests of this repository whose `subject` is that digest, oldest first, after the row `after`."""
    if artifact_type is None:
        return await r.all(_REFERRERS_ALL, repository=repository, subject=subject, after=after, count=count)
    return await r.all(_REFERRERS_OF_TYPE, repository=repository, subject=subject, after=after, count=count, artifact_type=artifact_type)


async def referrer_sizes(
    r: Reader, repository: RepoName, subject: Digest, artifact_type: str | None, after: int, count: int
) -> list[Weight]:
    if artifact_type is None:
        return await r.all(_SIZES_ALL, repository=repository, subject=subject, after=after, count=count)
    return await r.all(_SIZES_OF_TYPE, repository=repository, subject=subject, after=after, count=count, artifact_type=artifact_type)


async def subject_of(r: Reader, id: int) -> Digest | None:
    return await r.one(_SUBJECT, manifest_id=id)


async def manifests_page(r: Reader, repository_id: int, after: int, count: int) -> list[Manifest]:
    return await r.all(_PAGE, repository_id=repository_id, after=after, count=count)
