"""end-2, end-10: blobs by digest, whole or in parts."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

from cargohold.content import blobs
from cargohold.content.queries.blobs import Blob
from cargohold.errors import BlobUnknown, PreconditionFailed
from cargohold.http.call import Call
from cargohold.http.replies import FileSlice, Headers, Reply, Stream
from cargohold.names import RepoName
from cargohold.registry import ranges
from cargohold.registry.plane import Plane, actor, digest_of, etag, matches
from cargohold.storage import keys
from cargohold.telemetry import log

_TYPE = (b"Content-Type", b"application/octet-stream")
_CACHE = (b"Cache-Control", b"max-age=31536000")
_RANGES = (b"Accept-Ranges", b"bytes")
_NO_STORE = (b"Cache-Control", b"no-store")
_REDIRECT_FROM = 1 << 20
_REDIRECT_TTL = 1200.0


async def get(plane: Plane, call: Call, name: RepoName, ref: str) -> Reply:
    digest = digest_of(ref)
    blob = await blobs.find(plane.store, name, digest)
    headers: Headers = [_TYPE, (b"Docker-Content-Digest", digest.encode()), (b"ETag", etag(digest)), _CACHE, _RANGES]
    if matches(call, digest):
        return Reply(304, headers)
    if call.header(b"if-match") is not None and not {"*", f'"{digest}"'}.intersection(call.header_list(b"if-match")):
        raise PreconditionFailed("If-Match names another digest", digest=digest)
    if call.method == "HEAD":
        await _must_be_there(plane, blob)
        await plane.store.lease(blob)
        return Reply(200, headers, length=blob.size)
    asked = call.header(b"range")
    parts = ranges.parse(asked, blob.size) if asked is not None and _applies(call, blob) else None
    redirect = await _redirect(plane, blob)
    if redirect is not None:  # a client that follows asks the bucket for the same range
        return redirect
    if parts is not None:
        return await _partial(plane, blob, parts, headers)
    return Reply(200, headers, await _content(plane, blob, 0, blob.size))


async def delete(plane: Plane, call: Call, name: RepoName, ref: str) -> Reply:
    digest = digest_of(ref)
    await blobs.delete(plane.store, actor(call), name, digest, call.id)
    return Reply(202, [(b"Docker-Content-Digest", digest.encode())])


def _applies(call: Call, blob: Blob) -> bool:
    condition = call.header(b"if-range")
    return condition is None or condition == f'"{blob.digest}"'


async def _partial(plane: Plane, blob: Blob, parts: list[ranges.Part], headers: Headers) -> Reply:
    if len(parts) > 1:

        async def read(start: int, end: int) -> AsyncIterator[bytes]:
            return await _chunks(plane, blob, start, end)

        kind, stream = ranges.multipart(parts, blob.size, "application/octet-stream", read)
        return Reply(206, [(b"Content-Type", kind), *headers[1:]], stream)
    start, end = parts[0]
    headers.append((b"Content-Range", b"bytes %d-%d/%d" % (start, end - 1, blob.size)))
    return Reply(206, headers, await _content(plane, blob, start, end))


async def _redirect(plane: Plane, blob: Blob) -> Reply | None:
    """307 to the bucket, signed after the right to read was asked; small blobs are cheaper from here."""
    redirects = plane.store.redirects
    if redirects is None or not plane.settings.storage.redirect or blob.size <= _REDIRECT_FROM:
        return None
    url = await redirects.sign(keys.blob(blob.digest), _REDIRECT_TTL)
    return Reply(307, [(b"Location", url.encode()), _NO_STORE]) if url else None


async def _content(plane: Plane, blob: Blob, start: int, end: int) -> bytes | FileSlice | Stream:
    files = plane.store.files
    if files is None:
        chunks = await _chunks(plane, blob, start, end)

        async def opened() -> AsyncIterator[bytes]:
            return chunks

        return Stream(end - start, opened)
    found = files.open(keys.blob(blob.digest))
    if found is None:
        raise _lost(blob)
    fd, stat = found
    if stat.size != blob.size or stat.mark != blob.mark:
        os.close(fd)
        await plane.store.verify(blob, stat.mark)
        found = files.open(keys.blob(blob.digest))
        if found is None:
            raise _lost(blob)
        fd = found[0]
    return FileSlice(fd, start, end - start)


async def _chunks(plane: Plane, blob: Blob, start: int, end: int) -> AsyncIterator[bytes]:
    content = await plane.store.driver.read(keys.blob(blob.digest), start, end)
    if content is None:
        raise _lost(blob)
    if content.stat.size != blob.size:
        await plane.store.verify(blob, content.stat.mark)
    return content.chunks


async def _must_be_there(plane: Plane, blob: Blob) -> None:
    """A client that hears 200 does not push the blob again, so a file that is gone or cut is 404. Of a bucket it is not asked."""
    if plane.store.files is not None:
        stat = await plane.store.driver.head(keys.blob(blob.digest))
        if stat is None or stat.size != blob.size:
            raise _lost(blob)


def _lost(blob: Blob) -> BlobUnknown:
    log.error("the bytes of a blob are gone from storage", digest=blob.digest)
    return BlobUnknown(digest=blob.digest)
