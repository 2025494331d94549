"""SQL of `cargohold db rebuild`: all rows of images go, at most a thousand in one unit, children before parents."""

from __future__ import annotations

from typing import Any

from sqlalchemy import delete, select

from cargohold.db.query import Query
from cargohold.db.tables import blobs, manifest_references, manifests, repositories, repository_blobs, tags
from cargohold.db.work import Work

_PAGE = 1000

STEPS: tuple[Query[Any], ...] = (
    Query(delete(tags).where(tags.c.manifest_id.in_(select(tags.c.manifest_id).limit(_PAGE)))),
    Query(delete(manifest_references).where(manifest_references.c.manifest_id.in_(select(manifest_references.c.manifest_id).limit(_PAGE)))),
    Query(delete(manifests).where(manifests.c.id.in_(select(manifests.c.id).limit(_PAGE)))),
    Query(delete(repository_blobs).where(repository_blobs.c.blob_id.in_(select(repository_blobs.c.blob_id).limit(_PAGE)))),
    Query(delete(blobs).where(blobs.c.id.in_(select(blobs.c.id).limit(_PAGE)))),
    Query(delete(repositories).where(repositories.c.id.in_(select(repositories.c.id).limit(_PAGE)))),
)


async def some(work: Work, step: Query[Any]) -> int:
    """Rows that went; 0 when the step is done."""
    return await work.run(step)
