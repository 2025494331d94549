"""Uploads: every style, the rules of Content-Range, status, cancel, wrong digests, resuming."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from cargohold.http.call import Call, ClientGone
from cargohold.names import Digest
from cargohold.testing.image import blob
from cargohold.testing.push import with_query
from cargohold.testing.server import Running, registry
from tests.content.shop import Pieces
from tests.registry.wire import UNKNOWN, created, error, finish, has_blob, patch, pieces, start, upload_headers

pytestmark = pytest.mark.asyncio(loop_scope="module")

SIZES = [0, 10, 256 * 1024, 256 * 1024 + 1, 3_000_000]
"""Around what stays in a row, and well over it."""
SHA = ["sha256", "sha512"]


async def check(client: httpx.AsyncClient, repo: str, digest: str, content: bytes) -> None:
    answer = await client.get(f"/v2/{repo}/blobs/{digest}")
    assert (answer.status_code, answer.content) == (200, content)


@pytest.mark.parametrize("algorithm", SHA)
@pytest.mark.parametrize("size", SIZES)
async def test_post_then_put(client: httpx.AsyncClient, repo: str, size: int, algorithm: str) -> None:
    item = blob(size, repo, algorithm=algorithm)
    location = await start(client, repo)
    created(await finish(client, location, item.digest, item.content), repo, item.digest)
    await check(client, repo, item.digest, item.content)
    error(await client.get(location), 404, "BLOB_UPLOAD_UNKNOWN")


@pytest.mark.parametrize("algorithm", SHA)
@pytest.mark.parametrize("size", SIZES)
async def test_one_post(client: httpx.AsyncClient, repo: str, size: int, algorithm: str) -> None:
    item = blob(size, repo, algorithm=algorithm)
    answer = await client.post(f"/v2/{repo}/blobs/uploads/", params={"digest": item.digest}, content=item.content)
    created(answer, repo, item.digest)
    await check(client, repo, item.digest, item.content)


async def test_one_post_without_a_body_is_the_start_of_an_upload(client: httpx.AsyncClient, repo: str) -> None:
    answer = await client.post(f"/v2/{repo}/blobs/uploads/", params={"digest": UNKNOWN})
    assert answer.status_code == 202
    upload_headers(answer, repo, 0)
    assert not await has_blob(client, repo, UNKNOWN)


@pytest.mark.parametrize("algorithm", SHA)
@pytest.mark.parametrize("size", SIZES)
async def test_post_patch_put_as_docker_streams_it(client: httpx.AsyncClient, repo: str, size: int, algorithm: str) -> None:
    item = blob(size, repo, algorithm=algorithm)
    location = await start(client, repo)
    moved = await client.patch(location, content=pieces(item.content))
    assert moved.status_code == 202
    created(await finish(client, upload_headers(moved, repo, size), item.digest), repo, item.digest)
    await check(client, repo, item.digest, item.content)


@pytest.mark.parametrize("algorithm", SHA)
@pytest.mark.parametrize("step", [100, 300_000])
@pytest.mark.parametrize("last_in_put", [False, True])
async def test_chunks_in_order(client: httpx.AsyncClient, repo: str, step: int, last_in_put: bool, algorithm: str) -> None:
    item = blob(step * 3 + step // 2, repo, algorithm=algorithm)
    location = await start(client, repo)
    chunks = [(first, item.content[first : first + step]) for first in range(0, len(item.content), step)]
    last = chunks.pop() if last_in_put else (0, b"")
    for first, chunk in chunks:
        answer = await patch(client, location, chunk, first)
        assert answer.status_code == 202
        location = upload_headers(answer, repo, first + len(chunk))
    headers = {"Content-Range": f"{last[0]}-{last[0] + len(last[1]) - 1}"} if last[1] else {}
    created(await finish(client, location, item.digest, last[1], **headers), repo, item.digest)
    await check(client, repo, item.digest, item.content)


async def test_the_conformance_suite_on_chunks(client: httpx.AsyncClient, repo: str) -> None:
    """Second first: 416. First: 202. First again at the old location: 416. Status at the old location: where to go on."""
    item = blob(200, repo)
    one, two = item.content[:100], item.content[100:]
    old = await start(client, repo)
    wrong = await patch(client, old, two, 100)
    error(wrong, 416, "BLOB_UPLOAD_INVALID")
    upload_headers_of_error(wrong, repo, 0)
    first = await patch(client, old, one, 0)
    assert (first.status_code, first.headers["Range"]) == (202, "0-99")
    again = await patch(client, old, one, 0)
    error(again, 416, "BLOB_UPLOAD_INVALID")
    upload_headers_of_error(again, repo, 100)
    status = await client.get(old)
    assert (status.status_code, status.content) == (204, b"")
    second = await patch(client, upload_headers(status, repo, 100), two, 100)
    assert (second.status_code, second.headers["Range"]) == (202, "0-199")
    created(await finish(client, second.headers["Location"], item.digest), repo, item.digest)
    await check(client, repo, item.digest, item.content)


def upload_headers_of_error(response: httpx.Response, repo: str, size: int) -> None:
    """A 416 says where the upload truly stands, and where to go on."""
    assert response.headers["Range"] == f"0-{max(size - 1, 0)}"
    assert response.headers["Location"].startswith(f"/v2/{repo}/blobs/uploads/{response.headers['Docker-Upload-UUID']}")


@pytest.mark.parametrize(
    ("content_range", "status"),
    [
        ("5-14", 416),
        ("11-20", 416),
        ("0-9", 416),
        ("100-109", 416),
        ("10-20", 400),
        ("10-18", 400),
        ("19-10", 416),
        ("nonsense", 416),
        ("10", 416),
        ("-10", 416),
        ("10-19", 202),
        ("bytes 10-19/*", 202),
        ("bytes 10-19/20", 202),
        ("bytes=10-19", 202),
    ],
)
async def test_a_bad_range_writes_nothing(client: httpx.AsyncClient, repo: str, content_range: str, status: int) -> None:
    item = blob(20, repo)
    location = await start(client, repo)
    assert (await patch(client, location, item.content[:10], 0)).status_code == 202
    answer = await client.patch(location, content=item.content[10:], headers={"Content-Range": content_range})
    assert answer.status_code == status, answer.text
    if status == 202:
        created(await finish(client, location, item.digest), repo, item.digest)
        return
    error(answer, status, "BLOB_UPLOAD_INVALID" if status == 416 else "SIZE_INVALID")
    upload_headers(await client.get(location), repo, 10)
    created(await finish(client, location, item.digest, item.content[10:]), repo, item.digest)


@pytest.mark.parametrize("content_range", ["5-14", "100-109", "0-9"])
async def test_a_last_chunk_out_of_order_is_refused(client: httpx.AsyncClient, repo: str, content_range: str) -> None:
    item = blob(20, repo)
    location = await start(client, repo)
    await patch(client, location, item.content[:10], 0)
    answer = await finish(client, location, item.digest, item.content[10:], **{"Content-Range": content_range})
    error(answer, 416, "BLOB_UPLOAD_INVALID")
    upload_headers_of_error(answer, repo, 10)
    created(await finish(client, location, item.digest, item.content[10:], **{"Content-Range": "10-19"}), repo, item.digest)
    await check(client, repo, item.digest, item.content)


async def test_status_of_an_upload(client: httpx.AsyncClient, repo: str) -> None:
    location = await start(client, repo)
    for size in (0, 1, 300_001):
        for method in ("GET", "HEAD"):
            answer = await client.request(method, location)
            assert (answer.status_code, answer.content) == (204, b"")
            upload_headers(answer, repo, size)
        await client.patch(location, content=b"x" if size == 0 else b"y" * 300_000)


async def test_an_empty_patch_changes_nothing(client: httpx.AsyncClient, repo: str) -> None:
    location = await start(client, repo)
    answer = await client.patch(location, content=b"")
    assert answer.status_code == 202
    upload_headers(answer, repo, 0)


@pytest.mark.parametrize("size", [10, 300_000])
async def test_cancel(client: httpx.AsyncClient, repo: str, size: int) -> None:
    location = await start(client, repo)
    await patch(client, location, b"z" * size)
    answer = await client.delete(location)
    assert (answer.status_code, answer.content) == (204, b"") and answer.headers["Docker-Upload-UUID"] in location
    for method in ("GET", "HEAD", "DELETE", "PATCH"):
        error(await client.request(method, location), 404, "BLOB_UPLOAD_UNKNOWN")
    error(await finish(client, location, Digest.of(b"z" * size)), 404, "BLOB_UPLOAD_UNKNOWN")


@pytest.mark.parametrize("upload", ["6f1c0000-0000-4000-8000-000000000000", "nonsense", "6F1C0000-0000-4000-8000-000000000000", "%00"])
async def test_an_upload_that_is_none(client: httpx.AsyncClient, repo: str, upload: str) -> None:
    location = f"/v2/{repo}/blobs/uploads/{upload}"
    for method in ("GET", "HEAD", "DELETE", "PATCH"):
        error(await client.request(method, location), 404, "BLOB_UPLOAD_UNKNOWN")
    error(await finish(client, location, UNKNOWN, b"x"), 404, "BLOB_UPLOAD_UNKNOWN")


@pytest.mark.parametrize("digest", [None, "", "sha256:short", "md5:" + "a" * 32, "sha256:" + "G" * 64])
async def test_a_finish_without_a_usable_digest_loses_nothing(client: httpx.AsyncClient, repo: str, digest: str | None) -> None:
    item = blob(50, repo)
    location = await start(client, repo)
    await patch(client, location, item.content)
    answer = await client.put(location) if digest is None else await finish(client, location, digest)
    error(answer, 400, "DIGEST_INVALID")
    created(await finish(client, location, item.digest), repo, item.digest)


@pytest.mark.parametrize("size", [50, 400_000])
@pytest.mark.parametrize("style", ["post", "put", "patch", "patch and put"])
async def test_a_wrong_digest_stores_nothing_in_any_style(client: httpx.AsyncClient, repo: str, style: str, size: int) -> None:
    item, wrong = blob(size, repo), Digest.of(repo.encode())
    if style == "post":
        answer = await client.post(f"/v2/{repo}/blobs/uploads/", params={"digest": wrong}, content=item.content)
    else:
        location = await start(client, repo)
        sent = {"put": 0, "patch": size, "patch and put": size // 2}[style]
        if sent:
            await patch(client, location, item.content[:sent])
        answer = await finish(client, location, wrong, item.content[sent:])
    error(answer, 400, "DIGEST_INVALID")
    assert not await has_blob(client, repo, wrong) and not await has_blob(client, repo, item.digest)


async def test_a_repeated_finish_says_created_again(client: httpx.AsyncClient, repo: str) -> None:
    """The answer to the first may have been lost."""
    item = blob(300_000, repo)
    location = await start(client, repo)
    await patch(client, location, item.content)
    for _ in range(2):
        created(await finish(client, location, item.digest), repo, item.digest)
    error(await finish(client, location, UNKNOWN), 404, "BLOB_UPLOAD_UNKNOWN")


async def test_a_blob_that_is_there_is_created_again(client: httpx.AsyncClient, repo: str) -> None:
    item = blob(300_000, repo)
    for _ in range(2):
        created(await finish(client, await start(client, repo), item.digest, item.content), repo, item.digest)


async def test_two_uploads_of_one_blob_at_once(client: httpx.AsyncClient, repo: str) -> None:
    item = blob(600_000, repo)
    locations = [await start(client, repo) for _ in range(4)]
    answers = await asyncio.gather(*(finish(client, location, item.digest, item.content) for location in locations))
    for answer in answers:
        created(answer, repo, item.digest)
    await check(client, repo, item.digest, item.content)


async def test_a_location_may_carry_more_query(client: httpx.AsyncClient, repo: str) -> None:
    """containerd adds `ns`, clients of registry:2 rebuild `_state`."""
    item = blob(50, repo)
    location = with_query(await start(client, repo), ns="docker.io", _state="AbC=")
    assert (await client.patch(location, content=item.content)).status_code == 202
    created(await finish(client, location, item.digest), repo, item.digest)


@pytest.mark.parametrize("kind", ["application/octet-stream", "application/json", "text/plain; charset=utf-8", ""])
async def test_the_content_type_of_an_upload_does_not_matter(client: httpx.AsyncClient, repo: str, kind: str) -> None:
    item = blob(50, repo + kind)
    headers = {"Content-Type": kind} if kind else {}
    opened = await client.post(f"/v2/{repo}/blobs/uploads/", headers=headers)
    assert (await client.patch(opened.headers["Location"], content=item.content, headers=headers)).status_code == 202
    created(await finish(client, opened.headers["Location"], item.digest, b"", **headers), repo, item.digest)


async def test_the_digest_algorithm_may_be_told_early(client: httpx.AsyncClient, repo: str) -> None:
    """end-4c of the next version."""
    item = blob(300_000, repo, algorithm="sha512")
    opened = await client.post(f"/v2/{repo}/blobs/uploads/", params={"digest-algorithm": "sha512"})
    await patch(client, opened.headers["Location"], item.content)
    created(await finish(client, opened.headers["Location"], item.digest), repo, item.digest)


async def cut(running: Running, location: str, data: bytes) -> None:
    """A PATCH whose client leaves after these bytes."""
    body = Pieces([data[begin : begin + 65536] for begin in range(0, len(data), 65536)], cut=True)
    body.length = len(data) + 1000
    gone = Call(
        "PATCH", location, "", [(b"content-length", str(body.length).encode())], client="127.0.0.1", scheme="http", id="cut", body=body
    )
    try:
        reply = await running.app.endpoint(gone)
    except ClientGone:
        return
    assert reply.status == 499


@pytest.mark.parametrize("size", [1000, 900_000])
async def test_what_came_before_the_connection_broke_is_kept(running: Running, repo: str, size: int) -> None:
    client, item = running.client, blob(1_000_000, repo)
    location = await start(client, repo)
    await cut(running, location, item.content[:size])
    upload_headers(await client.get(location), repo, size)
    moved = await patch(client, location, item.content[size:], size)
    created(await finish(client, moved.headers["Location"], item.digest), repo, item.digest)
    await check(client, repo, item.digest, item.content)


@pytest.mark.parametrize("size", [1000, 900_000])
async def test_an_upload_goes_on_at_another_worker_and_after_a_restart(running: Running, repo: str, size: int) -> None:
    item = blob(1_000_000, repo)
    location = await start(running.client, repo)
    await patch(running.client, location, item.content[:size], 0)
    async with registry(running.settings, keeper=False) as other:
        upload_headers(await other.client.get(location), repo, size)
        moved = await patch(other.client, location, item.content[size:], size)
        assert moved.status_code == 202
    created(await finish(running.client, location, item.digest), repo, item.digest)
    await check(running.client, repo, item.digest, item.content)


async def test_two_that_append_at_once_do_not_mix(client: httpx.AsyncClient, repo: str) -> None:
    """One wins; what the other sent is refused, or goes behind it when it came without a range."""
    data = [bytes([letter]) * 400_000 for letter in b"ab"]
    location = await start(client, repo)
    answers = await asyncio.gather(*(patch(client, location, part, 0) for part in data))
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [202, 416]
    winner = data[[answer.status_code for answer in answers].index(202)]
    created(await finish(client, location, Digest.of(winner)), repo, Digest.of(winner))
