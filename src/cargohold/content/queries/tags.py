"""SQL of tags: byte order, keyset pages."""

from __future__ import annotations

from datetime import datetime

import msgspec
from sqlalchemy import bindparam, delete, select

from cargohold.db.query import Query, insert
from cargohold.db.tables import manifests, repositories, tags
from cargohold.db.work import Reader, Work
from cargohold.names import Digest, RepoName, Tag


class TagRow(msgspec.Struct, frozen=True):
    name: str
    digest: Digest


_PAGE: Query[str] = Query(
    select(tags.c.name)
    .where(tags.c.repository_id == bindparam("repository_id"), tags.c.name > bindparam("after"))
    .order_by(tags.c.name)
    .limit(bindparam("count"))
)
_DIGESTS = Query(
    select(tags.c.name, manifests.c.digest)
    .join(manifests, manifests.c.id == tags.c.manifest_id)
    .where(tags.c.repository_id == bindparam("repository_id"), tags.c.name > bindparam("after"))
    .order_by(tags.c.name)
    .limit(bindparam("count")),
    TagRow,
)
_DIGEST: Query[Digest] = Query(
    select(manifests.c.digest)
    .join(tags, tags.c.manifest_id == manifests.c.id)
    .join(repositories, repositories.c.id == tags.c.repository_id)
    .where(repositories.c.name == bindparam("repository"), tags.c.name == bindparam("tag"))
)
_SET: Query[int] = Query(
    insert(tags)
    .values(
        repository_id=bindparam("repository_id"), name=bindparam("tag"), manifest_id=bindparam("manifest_id"), updated_at=bindparam("now")
    )
    .on_conflict_do_update(
        index_elements=["repository_id", "name"], set_={"manifest_id": bindparam("manifest_id"), "updated_at": bindparam("now")}
    )
)
_ADD: Query[int] = Query(
    insert(tags)
    .values(
        repository_id=bindparam("repository_id"), name=bindparam("tag"), manifest_id=bindparam("manifest_id"), updated_at=bindparam("now")
    )
    .on_conflict_do_nothing(index_elements=["repository_id", "name"])
)
_DELETE: Query[int] = Query(delete(tags).where(tags.c.repository_id == bindparam("repository_id"), tags.c.name == bindparam("tag")))
_DELETE_OF: Query[str] = Query(delete(tags).where(tags.c.manifest_id == bindparam("manifest_id")).returning(tags.c.name))


async def tags_page(r: Reader, repository_id: int, after: str, count: int) -> list[str]:
    return await r.all(_PAGE, repository_id=repository_id, after=after, count=count)


async def tag_rows(r: Reader, repository_id: int, after: str, count: int) -> list[TagRow]:
    return await r.all(_DIGESTS, repository_id=repository_id, after=after, count=count)


async def tag_digest(r: Reader, repository: RepoName, tag: Tag) -> Digest | None:
    return await r.one(_DIGEST, repository=repository, tag=tag)


async def set_tag(work: Work, repository_id: int, tag: Tag, manifest_id: int, now: datetime) -> int:
    return await work.run(_SET, repository_id=repository_id, tag=tag, manifest_id=manifest_id, now=now)


async def add_tag(work: Work, repository_id: int, tag: Tag, manifest_id: int, now: datetime) -> int:
    """A tag that is there stays where it points."""
    return await work.run(_ADD, repository_id=repository_id, tag=tag, manifest_id=manifest_id, now=now)


async def delete_tag(work: Work, repository_id: int, tag: Tag) -> int:
    return await work.run(_DELETE, repository_id=repository_id, tag=tag)


async def delete_tags_of(work: Work, manifest_id: int) -> list[str]:
    """The names of the tags that pointed to the manifest."""
    return await work.all(_DELETE_OF, manifest_id=manifest_id)
