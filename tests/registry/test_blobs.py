"""Blobs: HEAD, GET, ranges, conditions, DELETE, other digests."""

from __future__ import annotations

import email
import email.policy
from pathlib import Path

import httpx
import pytest

from cargohold.names import Digest
from cargohold.storage import keys
from cargohold.testing.image import Blob, blob
from tests.registry.wire import UNKNOWN, add, error, finish, has_blob, start

pytestmark = pytest.mark.asyncio(loop_scope="module")

SIZES = [0, 1, 1500, 64 * 1024, 64 * 1024 + 1, 700_000]


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
@pytest.mark.parametrize("size", SIZES)
async def test_get_and_head_tell_the_same(client: httpx.AsyncClient, repo: str, size: int, algorithm: str) -> None:
    item = blob(size, repo, algorithm=algorithm)
    await add(client, repo, item)
    got, head = await client.get(f"/v2/{repo}/blobs/{item.digest}"), await client.head(f"/v2/{repo}/blobs/{item.digest}")
    assert (got.status_code, got.content) == (200, item.content)
    assert (head.status_code, head.content) == (200, b"")
    for answer in (got, head):
        assert answer.headers["Content-Length"] == str(size)
        assert answer.headers["Content-Type"] == "application/octet-stream"
        assert answer.headers["Docker-Content-Digest"] == item.digest
        assert answer.headers["ETag"] == f'"{item.digest}"'
        assert answer.headers["Cache-Control"] == "max-age=31536000"
        assert answer.headers["Accept-Ranges"] == "bytes"
        assert "Content-Encoding" not in answer.headers


async def test_an_unknown_blob(client: httpx.AsyncClient, repo: str) -> None:
    """In a repository that is not there, and in one that is."""
    for _ in range(2):
        for method in ("HEAD", "GET"):
            detail = error(await client.request(method, f"/v2/{repo}/blobs/{UNKNOWN}"), 404, "BLOB_UNKNOWN")
        assert detail == {"digest": UNKNOWN}
        error(await client.delete(f"/v2/{repo}/blobs/{UNKNOWN}"), 404, "BLOB_UNKNOWN")
        await add(client, repo, blob(1))


@pytest.mark.parametrize(
    "digest", ["sha256:totallywrong", "sha256:" + "A" * 64, "sha256:" + "a" * 63, "md5:" + "a" * 32, "latest", ":", "sha256:"]
)
async def test_a_digest_that_is_none(client: httpx.AsyncClient, repo: str, digest: str) -> None:
    for method in ("GET", "HEAD", "DELETE"):
        error(await client.request(method, f"/v2/{repo}/blobs/{digest}"), 400, "DIGEST_INVALID")


RANGES = [
    ("bytes=500-1499", 500, 1500),
    ("bytes=500-", 500, 4000),
    ("bytes=-500", 3500, 4000),
    ("bytes=2000-5000", 2000, 4000),
    ("bytes=0-0", 0, 1),
    ("bytes=3999-", 3999, 4000),
    ("bytes=-9999", 0, 4000),
    ("bytes= 0-9", 0, 10),
]


@pytest.mark.parametrize(("asked", "start", "end"), RANGES)
async def test_one_range(client: httpx.AsyncClient, repo: str, asked: str, start: int, end: int) -> None:
    item = blob(4000)
    await add(client, repo, item)
    answer = await client.get(f"/v2/{repo}/blobs/{item.digest}", headers={"Range": asked})
    assert (answer.status_code, answer.content) == (206, item.content[start:end])
    assert answer.headers["Content-Range"] == f"bytes {start}-{end - 1}/4000"
    assert answer.headers["Content-Length"] == str(end - start)
    assert answer.headers["Docker-Content-Digest"] == item.digest


@pytest.mark.parametrize(
    "asked", ["bytes=4000-", "bytes=5000-10000", "bytes=500-0", "bytes=-0", "bytes=a-b", "bytes=-", "lines=1-2", "bytes"]
)
async def test_a_range_that_cannot_be_served(client: httpx.AsyncClient, repo: str, asked: str) -> None:
    item = blob(4000)
    await add(client, repo, item)
    answer = await client.get(f"/v2/{repo}/blobs/{item.digest}", headers={"Range": asked})
    assert answer.status_code == 416
    assert answer.headers["Content-Range"] == "bytes */4000"


async def test_several_ranges(client: httpx.AsyncClient, repo: str) -> None:
    item = blob(4000)
    await add(client, repo, item)
    answer = await client.get(f"/v2/{repo}/blobs/{item.digest}", headers={"Range": "bytes=0-9, 100-199,-5"})
    assert answer.status_code == 206 and answer.headers["Content-Length"] == str(len(answer.content))
    whole = b"Content-Type: " + answer.headers["Content-Type"].encode() + b"\r\n\r\n" + answer.content
    parts = list(email.message_from_bytes(whole, policy=email.policy.HTTP).iter_parts())
    assert [part["Content-Range"] for part in parts] == ["bytes 0-9/4000", "bytes 100-199/4000", "bytes 3995-3999/4000"]
    assert answer.content.count(item.content[100:200]) == 1 and answer.content.count(item.content[-5:]) >= 1


async def test_many_ranges_cost_no_more_than_the_whole(client: httpx.AsyncClient, repo: str) -> None:
    item = blob(4000)
    await add(client, repo, item)
    for asked in ("bytes=" + ",".join(["0-"] * 50), "bytes=" + ",".join(f"{n}-{n}" for n in range(500))):
        answer = await client.get(f"/v2/{repo}/blobs/{item.digest}", headers={"Range": asked})
        assert (answer.status_code, answer.content) == (200, item.content)


@pytest.mark.parametrize("spelling", ['"{}"', 'W/"{}"', "{}", '"x", "{}"', "*"])
async def test_not_modified(client: httpx.AsyncClient, repo: str, spelling: str) -> None:
    item = blob(100)
    await add(client, repo, item)
    headers = {"If-None-Match": spelling.format(item.digest)}
    for method in ("GET", "HEAD"):
        answer = await client.request(method, f"/v2/{repo}/blobs/{item.digest}", headers=headers)
        assert (answer.status_code, answer.content, answer.headers["ETag"]) == (304, b"", f'"{item.digest}"')
    assert (await client.get(f"/v2/{repo}/blobs/{item.digest}", headers={"If-None-Match": f'"{UNKNOWN}"'})).status_code == 200


async def test_conditions_on_ranges(client: httpx.AsyncClient, repo: str) -> None:
    item = blob(100)
    await add(client, repo, item)
    url = f"/v2/{repo}/blobs/{item.digest}"
    assert (await client.get(url, headers={"Range": "bytes=0-9", "If-Range": f'"{item.digest}"'})).status_code == 206
    assert (await client.get(url, headers={"Range": "bytes=0-9", "If-Range": f'"{UNKNOWN}"'})).status_code == 200
    assert (await client.get(url, headers={"If-Match": f'"{item.digest}"'})).status_code == 200
    error(await client.get(url, headers={"If-Match": f'"{UNKNOWN}"'}), 412, "DENIED")


async def test_delete_is_at_once_and_for_this_repository_alone(client: httpx.AsyncClient, repo: str) -> None:
    item, other = blob(100, repo), f"{repo}/other"
    for name in (repo, other):
        await add(client, name, item)
    gone = await client.delete(f"/v2/{repo}/blobs/{item.digest}")
    assert (gone.status_code, gone.content, gone.headers["Content-Length"]) == (202, b"", "0")
    assert not await has_blob(client, repo, item.digest) and await has_blob(client, other, item.digest)
    error(await client.get(f"/v2/{repo}/blobs/{item.digest}"), 404, "BLOB_UNKNOWN")
    error(await client.delete(f"/v2/{repo}/blobs/{item.digest}"), 404, "BLOB_UNKNOWN")
    await add(client, repo, item)
    assert (await client.get(f"/v2/{repo}/blobs/{item.digest}")).content == item.content


async def test_a_file_that_is_gone_is_told_and_pushed_again(client: httpx.AsyncClient, repo: str, folder: Path, backend: str) -> None:
    """HEAD as well: a client that hears 200 would not send the blob."""
    item = blob(100, repo)
    await add(client, repo, item)
    if backend.endswith("+s3"):
        return
    file = folder / keys.blob(item.digest)
    for damage in (file.unlink, lambda: file.write_bytes(b"cut")):
        damage()
        assert not await has_blob(client, repo, item.digest)
        await add(client, repo, item)
        assert (await client.get(f"/v2/{repo}/blobs/{item.digest}")).content == item.content


async def test_a_sha512_blob_goes_by_that_name_alone(client: httpx.AsyncClient, repo: str) -> None:
    item = blob(100, repo, algorithm="sha512")
    await add(client, repo, item)
    assert not await has_blob(client, repo, Digest.of(item.content))
    await add(client, repo, Blob(item.content))
    assert await has_blob(client, repo, Digest.of(item.content)) and await has_blob(client, repo, item.digest)


@pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512"])
async def test_the_digest_decides_not_the_client(client: httpx.AsyncClient, repo: str, algorithm: str) -> None:
    wrong = Digest.of(b"other bytes", algorithm)
    error(await finish(client, await start(client, repo), wrong, b"these bytes"), 400, "DIGEST_INVALID")
    assert not await has_blob(client, repo, wrong)
