"""Repositories and what they hold. The only reference index: the tree on disk is a copy of it.

    repositories --< repository_blobs >-- blobs
         |--< manifests --< manifest_references (digest of a config, layer or child)
         `--< tags >-- manifests

`repositories.path_key` is the name with `/` as `!`, so that byte order is the order of the catalog: `a/b` before `a-b`.
`blobs.state`: 0 present, 1 tombstone (to be deleted after quarantine), 2 corrupt (never served).
`blobs.mark` is the driver's `Stat.mark` when the bytes were last known to be good.
"""

from __future__ import annotations

import sqlalchemy as sa

from cargohold.db.tables.core import BigId, ByteText, DigestBytes, Doc, Instant, metadata

PRESENT, TOMBSTONE, CORRUPT = 0, 1, 2
CONFIG, LAYER, CHILD = 0, 1, 2

repositories = sa.Table(
    "repositories",
    metadata,
    sa.Column("id", BigId, primary_key=True, autoincrement=True),
    sa.Column("name", ByteText, nullable=False),
    sa.Column("path_key", ByteText, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.UniqueConstraint("name", name="repositories_name"),
    sa.UniqueConstraint("path_key", name="repositories_path_key"),
)

blobs = sa.Table(
    "blobs",
    metadata,
    sa.Column("id", BigId, primary_key=True, autoincrement=True),
    sa.Column("digest", DigestBytes, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("mark", sa.BigInteger, nullable=False),
    sa.Column("state", sa.SmallInteger, nullable=False, server_default="0"),
    sa.Column("leased_until", Instant, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.UniqueConstraint("digest", name="blobs_digest"),
)

repository_blobs = sa.Table(
    "repository_blobs",
    metadata,
    sa.Column("repository_id", sa.BigInteger, sa.ForeignKey("repositories.id", name="repository_blobs_repository"), primary_key=True),
    sa.Column("blob_id", sa.BigInteger, sa.ForeignKey("blobs.id", name="repository_blobs_blob"), primary_key=True),
    sa.Index("repository_blobs_by_blob", "blob_id"),
    sqlite_with_rowid=False,
)

manifests = sa.Table(
    "manifests",
    metadata,
    sa.Column("id", BigId, primary_key=True, autoincrement=True),
    sa.Column("repository_id", sa.BigInteger, sa.ForeignKey("repositories.id", name="manifests_repository"), nullable=False),
    sa.Column("digest", DigestBytes, nullable=False),
    sa.Column("media_type", sa.Text, nullable=False),
    sa.Column("artifact_type", sa.Text, nullable=True),
    sa.Column("subject", DigestBytes, nullable=True),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("annotations", Doc, nullable=True),
    sa.Column("pushed_at", Instant, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.UniqueConstraint("repository_id", "digest", name="manifests_digest"),
)
sa.Index(
    "manifests_by_subject",
    manifests.c.repository_id,
    manifests.c.subject,
    manifests.c.id,
    sqlite_where=manifests.c.subject.is_not(None),
    postgresql_where=manifests.c.subject.is_not(None),
)

manifest_references = sa.Table(
    "manifest_references",
    metadata,
    sa.Column(
        "manifest_id",
        sa.BigInteger,
        sa.ForeignKey("manifests.id", name="manifest_references_manifest", ondelete="CASCADE"),
        primary_key=True,
    ),
    sa.Column("digest", DigestBytes, primary_key=True),
    sa.Column("kind", sa.SmallInteger, nullable=False),
    sa.Index("manifest_references_by_digest", "digest"),
    sqlite_with_rowid=False,
)

tags = sa.Table(
    "tags",
    metadata,
    sa.Column("repository_id", sa.BigInteger, sa.ForeignKey("repositories.id", name="tags_repository"), primary_key=True),
    sa.Column("name", ByteText, primary_key=True),
    sa.Column("manifest_id", sa.BigInteger, sa.ForeignKey("manifests.id", name="tags_manifest"), nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
    sa.Index("tags_by_manifest", "manifest_id"),
    sqlite_with_rowid=False,
)
