"""Upload sessions and the segments that a driver has staged for them (states: content/sessions.py).

`state`: 0 open, 1 finishing, 2 done, 3 dead. `digest_hex` is the sha256 of the first `size` bytes; `tail` holds the last
bytes of them when they are too few for a segment (the staged bytes end at `size - length(tail)`).
`handle` is what `Driver.abandon` needs to undo a half-done write.
"""

from __future__ import annotations

import sqlalchemy as sa

from cargohold.db.tables.core import DigestBytes, Instant, metadata

OPEN, FINISHING, DONE, DEAD = 0, 1, 2, 3

uploads = sa.Table(
    "uploads",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("repository", sa.Text, nullable=False),
    sa.Column("principal", sa.Text, nullable=False),
    sa.Column("state", sa.SmallInteger, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("digest_hex", sa.Text, nullable=False),
    sa.Column("tail", sa.LargeBinary, nullable=False),
    sa.Column("fence", sa.BigInteger, nullable=False),
    sa.Column("lease_until", Instant, nullable=False),
    sa.Column("handle", sa.Text, nullable=False),
    sa.Column("digest", DigestBytes, nullable=True),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("touched_at", Instant, nullable=False),
    sa.Index("uploads_by_touch", "touched_at"),
)

upload_segments = sa.Table(
    "upload_segments",
    metadata,
    sa.Column("upload_id", sa.Text, sa.ForeignKey("uploads.id", name="upload_segments_upload", ondelete="CASCADE"), primary_key=True),
    sa.Column("offset", sa.BigInteger, primary_key=True),
    sa.Column("length", sa.BigInteger, nullable=False),
    sa.Column("token", sa.Text, nullable=False),
    sqlite_with_rowid=False,
)
