"""Small tools of these tests: bodies in pieces, images in three lines, a second worker on the same data."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Sequence
from typing import Any

from cargohold.auth.identity import ANYONE
from cargohold.content import manifests, sessions, uploads
from cargohold.content.formats import OCI_IMAGE
from cargohold.content.store import Store
from cargohold.http.call import ClientGone
from cargohold.names import Digest, Reference, RepoName, Tag, UploadId

REPO = RepoName("team/app")
OTHER = RepoName("team/other")


class Pieces:
    """A body that arrives in these pieces; `cut`: then the client is gone."""

    def __init__(self, pieces: Sequence[bytes], *, cut: bool = False) -> None:
        self._pieces, self._cut = pieces, cut
        self.length: int | None = None

    async def chunks(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece
        if self._cut:
            raise ClientGone


def noise(store: Store, segments: int, more: int = 0) -> bytes:
    """So many segments of the store's driver, and so many bytes beside them."""
    return os.urandom(segments * store.driver.segment + more)


def in_pieces(data: bytes, size: int = 100_000) -> Pieces:
    return Pieces([data[start : start + size] for start in range(0, len(data), size)])


async def push_blob(store: Store, data: bytes, repository: RepoName = REPO) -> Digest:
    digest = Digest.of(data)
    await uploads.whole(store, ANYONE, repository, digest, in_pieces(data), "request")
    return digest


def image(config: bytes, layers: Sequence[bytes], **more: Any) -> bytes:
    """The manifest of an OCI image."""

    def descriptor(media_type: str, data: bytes) -> dict[str, Any]:
        return {"mediaType": media_type, "digest": str(Digest.of(data)), "size": len(data)}

    document = {
        "schemaVersion": 2,
        "mediaType": OCI_IMAGE,
        "config": descriptor("application/vnd.oci.image.config.v1+json", config),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", layer) for layer in layers],
        **more,
    }
    return json.dumps(document).encode()


async def push_image(store: Store, reference: str, *layers: bytes, repository: RepoName = REPO, **more: Any) -> Digest:
    for data in (b"{}", *layers):
        await push_blob(store, data, repository)
    body = image(b"{}", layers, **more)
    target: Reference = Digest.of(body) if reference == "@" else Tag(reference)
    digest, _ = await manifests.push(store, ANYONE, repository, target, body, OCI_IMAGE, "request")
    return digest


async def start(store: Store, repository: RepoName = REPO) -> UploadId:
    return await sessions.start(store, ANYONE, repository)


async def stored(store: Store, key: str) -> bytes | None:
    content = await store.driver.read(key)
    return None if content is None else b"".join([chunk async for chunk in content.chunks])
