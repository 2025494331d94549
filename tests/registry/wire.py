"""What these tests say often: an error in OCI's form, an upload, bytes in pieces, a manifest stored."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any

import httpx

from cargohold.names import Digest
from cargohold.testing.image import Blob, Image
from cargohold.testing.push import apush_blob, with_query

OCI_CODES = {
    "BLOB_UNKNOWN",
    "BLOB_UPLOAD_INVALID",
    "BLOB_UPLOAD_UNKNOWN",
    "DIGEST_INVALID",
    "MANIFEST_BLOB_UNKNOWN",
    "MANIFEST_INVALID",
    "MANIFEST_UNKNOWN",
    "NAME_INVALID",
    "NAME_UNKNOWN",
    "SIZE_INVALID",
    "UNAUTHORIZED",
    "DENIED",
    "UNSUPPORTED",
    "TOOMANYREQUESTS",
}
UNKNOWN = Digest.of(b"nobody has pushed this")
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def error(response: httpx.Response, status: int, code: str) -> Any:
    """The detail of the first error; everything around it has the form of the specification."""
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/json; charset=utf-8"
    assert response.headers["Docker-Distribution-Api-Version"] == "registry/2.0"
    assert int(response.headers["Content-Length"]) > 0
    if response.request.method == "HEAD":
        assert response.content == b""
        return None
    errors = response.json()["errors"]
    assert errors[0]["code"] == code, response.text
    assert all(entry["code"] in OCI_CODES | {"PAGINATION_NUMBER_INVALID"} and entry["message"] for entry in errors)
    assert all(set(entry) <= {"code", "message", "detail"} for entry in errors)
    return errors[0].get("detail")


def upload_headers(response: httpx.Response, repository: str, size: int) -> str:
    """Location, Range and Docker-Upload-UUID of an upload that stands at `size`; the location."""
    assert response.headers["Range"] == f"0-{max(size - 1, 0)}"
    upload = response.headers["Docker-Upload-UUID"]
    assert _UUID.fullmatch(upload)
    location = response.headers["Location"]
    assert location.startswith(f"/v2/{repository}/blobs/uploads/{upload}")
    assert response.headers["Content-Length" if response.status_code != 204 else "Location"] in ("0", location)
    return str(location)


async def start(client: httpx.AsyncClient, repository: str) -> str:
    opened = await client.post(f"/v2/{repository}/blobs/uploads/")
    assert opened.status_code == 202, opened.text
    return upload_headers(opened, repository, 0)


async def pieces(data: bytes, size: int = 32 * 1024) -> AsyncIterator[bytes]:
    """A body without a length, as docker streams it."""
    for begin in range(0, len(data), size):
        yield data[begin : begin + size]


async def patch(client: httpx.AsyncClient, location: str, data: bytes, first: int | None = None) -> httpx.Response:
    headers = {"Content-Type": "application/octet-stream"}
    if first is not None:
        headers["Content-Range"] = f"{first}-{first + len(data) - 1}"
    return await client.patch(location, content=data, headers=headers)


async def finish(client: httpx.AsyncClient, location: str, digest: str, data: bytes = b"", **headers: str) -> httpx.Response:
    return await client.put(with_query(location, digest=digest), content=data, headers=headers)


def created(response: httpx.Response, repository: str, digest: str) -> None:
    assert response.status_code == 201, response.text
    assert response.headers["Location"] == f"/v2/{repository}/blobs/{digest}"
    assert response.headers["Docker-Content-Digest"] == digest
    assert response.headers["Content-Length"] == "0" and response.content == b""


async def has_blob(client: httpx.AsyncClient, repository: str, digest: str) -> bool:
    found = await client.head(f"/v2/{repository}/blobs/{digest}")
    assert found.status_code in (200, 404)
    return found.status_code == 200


async def add(client: httpx.AsyncClient, repository: str, *items: Blob) -> None:
    for item in items:
        await apush_blob(client, repository, item)


async def put_manifest(client: httpx.AsyncClient, repository: str, reference: str, image: Image, **headers: str) -> httpx.Response:
    """The manifest alone, after its blobs."""
    await add(client, repository, *image.blobs)
    return await store(client, repository, reference, image.body, image.media_type, **headers)


async def store(
    client: httpx.AsyncClient, repository: str, reference: str, body: bytes, media_type: str | None, **headers: str
) -> httpx.Response:
    given = {"Content-Type": media_type} if media_type is not None else {}
    return await client.put(f"/v2/{repository}/manifests/{reference}", content=body, headers=given | headers)
