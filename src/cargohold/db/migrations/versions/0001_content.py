"""The first schema: what a registry holds (repositories, blobs, manifests, tags), uploads on their way, and `meta`.

Invariant: the keys and constraints have names, because errors and later revisions speak of them by name.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
BYTES_ORDER = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "meta",
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
    )
    _repositories_and_blobs()
    _manifests_and_tags()
    _uploads()


def _repositories_and_blobs() -> None:
    op.create_table(
        "repositories",
        sa.Column("id", ID, primary_key=True, autoincrement=True),
        sa.Column("name", BYTES_ORDER, nullable=False),
        sa.Column("path_key", BYTES_ORDER, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("name", name="repositories_name"),
        sa.UniqueConstraint("path_key", name="repositories_path_key"),
    )
    op.create_table(
        "blobs",
        sa.Column("id", ID, primary_key=True, autoincrement=True),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("mark", sa.BigInteger, nullable=False),
        sa.Column("state", sa.SmallInteger, nullable=False, server_default="0"),
        sa.Column("leased_until", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("digest", name="blobs_digest"),
    )
    op.create_table(
        "repository_blobs",
        sa.Column("repository_id", sa.BigInteger, primary_key=True),
        sa.Column("blob_id", sa.BigInteger, primary_key=True),
        sa.ForeignKeyConstraint(["repository_id"], ["repositories.id"], name="repository_blobs_repository"),
        sa.ForeignKeyConstraint(["blob_id"], ["blobs.id"], name="repository_blobs_blob"),
        sqlite_with_rowid=False,
    )
    op.create_index("repository_blobs_by_blob", "repository_blobs", ["blob_id"])


def _manifests_and_tags() -> None:
    op.create_table(
        "manifests",
        sa.Column("id", ID, primary_key=True, autoincrement=True),
        sa.Column("repository_id", sa.BigInteger, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("media_type", sa.Text, nullable=False),
        sa.Column("artifact_type", sa.Text, nullable=True),
        sa.Column("subject", sa.LargeBinary, nullable=True),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("annotations", sa.Text, nullable=True),
        sa.Column("pushed_at", sa.BigInteger, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.ForeignKeyConstraint(["repository_id"], ["repositories.id"], name="manifests_repository"),
        sa.UniqueConstraint("repository_id", "digest", name="manifests_digest"),
    )
    with_subject = sa.column("subject").is_not(None)
    op.create_index(
        "manifests_by_subject",
        "manifests",
        ["repository_id", "subject", "id"],
        sqlite_where=with_subject,
        postgresql_where=with_subject,
    )
    op.create_table(
        "manifest_references",
        sa.Column("manifest_id", sa.BigInteger, primary_key=True),
        sa.Column("digest", sa.LargeBinary, primary_key=True),
        sa.Column("kind", sa.SmallInteger, nullable=False),
        sa.ForeignKeyConstraint(["manifest_id"], ["manifests.id"], name="manifest_references_manifest", ondelete="CASCADE"),
        sqlite_with_rowid=False,
    )
    op.create_index("manifest_references_by_digest", "manifest_references", ["digest"])
    op.create_table(
        "tags",
        sa.Column("repository_id", sa.BigInteger, primary_key=True),
        sa.Column("name", BYTES_ORDER, primary_key=True),
        sa.Column("manifest_id", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.ForeignKeyConstraint(["repository_id"], ["repositories.id"], name="tags_repository"),
        sa.ForeignKeyConstraint(["manifest_id"], ["manifests.id"], name="tags_manifest"),
        sqlite_with_rowid=False,
    )
    op.create_index("tags_by_manifest", "tags", ["manifest_id"])


def _uploads() -> None:
    op.create_table(
        "uploads",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("repository", sa.Text, nullable=False),
        sa.Column("principal", sa.Text, nullable=False),
        sa.Column("state", sa.SmallInteger, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("digest_hex", sa.Text, nullable=False),
        sa.Column("tail", sa.LargeBinary, nullable=False),
        sa.Column("fence", sa.BigInteger, nullable=False),
        sa.Column("lease_until", sa.BigInteger, nullable=False),
        sa.Column("handle", sa.Text, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=True),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("touched_at", sa.BigInteger, nullable=False),
    )
    op.create_index("uploads_by_touch", "uploads", ["touched_at"])
    op.create_table(
        "upload_segments",
        sa.Column("upload_id", sa.Text, primary_key=True),
        sa.Column("offset", sa.BigInteger, primary_key=True),
        sa.Column("length", sa.BigInteger, nullable=False),
        sa.Column("token", sa.Text, nullable=False),
        sa.ForeignKeyConstraint(["upload_id"], ["uploads.id"], name="upload_segments_upload", ondelete="CASCADE"),
        sqlite_with_rowid=False,
    )
