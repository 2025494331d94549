"""The tables, one module per noun; `metadata` holds them all (Alembic and the tests read it from here)."""

from cargohold.db.tables.content import blobs, manifest_references, manifests, repositories, repository_blobs, tags
from cargohold.db.tables.core import events, meta, metadata
from cargohold.db.tables.uploads import upload_segments, uploads

__all__ = [
    "blobs",
    "events",
    "manifest_references",
    "manifests",
    "meta",
    "metadata",
    "repositories",
    "repository_blobs",
    "tags",
    "upload_segments",
    "uploads",
]
