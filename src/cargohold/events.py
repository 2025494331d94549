"""Domain events: what changed, stored as outbox rows in the transaction of the change (`Work.emit`).

    BlobPushed   BlobMounted   BlobDeleted
    ManifestPushed   ManifestDeleted   TagDeleted

`actor` is who did it, `request` the id of the request. Subscribers read the rows in order of their id: the tree's journal
(content/journal.py) today; notifications, audit, replication and scans later. A field may be added, never renamed.
"""

from __future__ import annotations

import msgspec

from cargohold.names import Digest, RepoName, Tag


class Event(msgspec.Struct, frozen=True, kw_only=True, tag=True, tag_field="kind"):
    """What all events tell."""

    repository: RepoName
    actor: str = ""
    request: str = ""


class BlobPushed(Event, frozen=True, kw_only=True):
    """An upload ended as a blob of this repository."""

    digest: Digest
    size: int


class BlobMounted(Event, frozen=True, kw_only=True):
    """A blob of another repository became one of this repository as well."""

    digest: Digest
    size: int
    source: RepoName


class BlobDeleted(Event, frozen=True, kw_only=True):
    """The repository holds that blob no more; its bytes stay until garbage collection."""

    digest: Digest


class ManifestPushed(Event, frozen=True, kw_only=True):
    """A manifest was stored, and `tag` (where there is one) points to it."""

    digest: Digest
    media_type: str
    size: int
    tag: Tag | None = None


class ManifestDeleted(Event, frozen=True, kw_only=True):
    """The manifest is gone, and with it every tag that pointed to it."""

    digest: Digest
    tags: list[Tag] = []


class TagDeleted(Event, frozen=True, kw_only=True):
    """The tag is gone; its manifest stays."""

    tag: Tag
    digest: Digest
