"""end-3, end-7, end-9: manifests by tag and by digest."""

from __future__ import annotations

from cargohold.content import manifests
from cargohold.content.formats import DOCKER_LIST, OCI_INDEX
from cargohold.errors import ManifestInvalid, ManifestTooLarge
from cargohold.http.call import Body, Call
from cargohold.http.replies import Headers, Reply
from cargohold.names import Digest, RepoName
from cargohold.registry.plane import Plane, actor, etag, matches, reference_of

_LISTS = frozenset({DOCKER_LIST, OCI_INDEX})


async def get(plane: Plane, call: Call, name: RepoName, ref: str) -> Reply:
    """The stored bytes under their stored media type, whatever Accept says; for docker lists by tag see content/manifests.py."""
    found = await manifests.pull(plane.store, actor(call), name, reference_of(ref), _accepts_lists(call))
    headers: Headers = [
        (b"Content-Type", found.media_type.encode()),
        (b"Docker-Content-Digest", found.digest.encode()),
        (b"ETag", etag(found.digest)),
    ]
    if matches(call, found.digest):
        return Reply(304, headers)
    return Reply(200, headers, found.body)


async def put(plane: Plane, call: Call, name: RepoName, ref: str) -> Reply:
    reference = reference_of(ref)
    body = await _read(call.body, plane.store.limits.manifest_bytes)
    digest, parsed = await manifests.push(plane.store, actor(call), name, reference, body, call.header(b"content-type") or "", call.id)
    headers: Headers = [
        (b"Location", plane.location(call, f"/v2/{name}/manifests/{digest}")),
        (b"Docker-Content-Digest", digest.encode()),
    ]
    if parsed.subject is not None:
        headers.append((b"OCI-Subject", parsed.subject.encode()))
    return Reply(201, headers)


async def delete(plane: Plane, call: Call, name: RepoName, ref: str) -> Reply:
    reference = reference_of(ref)
    await manifests.delete(plane.store, actor(call), name, reference, call.id)
    headers = [(b"Docker-Content-Digest", reference.encode())] if isinstance(reference, Digest) else []
    return Reply(202, headers)


def _accepts_lists(call: Call) -> bool:
    """False only for clients that name neither list type: they get the linux/amd64 child, as registry:2 gives it."""
    return any(item.partition(";")[0].strip() in _LISTS for item in call.header_list(b"accept"))


async def _read(body: Body | None, limit: int) -> bytes:
    if body is None:
        raise ManifestInvalid("the manifest is empty", field="")
    if body.length is not None and body.length > limit:
        raise ManifestTooLarge(limit=limit, size=body.length)
    found = bytearray()
    async for chunk in body.chunks():
        found += chunk
        if len(found) > limit:
            raise ManifestTooLarge(limit=limit)
    return bytes(found)
