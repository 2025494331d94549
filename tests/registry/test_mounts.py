"""Mounts, and that a blob of a repository one may not read is like a blob that nobody has (CVE-2024-39897, pulp#1286)."""

from __future__ import annotations

import statistics
import time

import httpx
import pytest

from cargohold.testing.image import blob
from tests.registry.conftest import As
from tests.registry.wire import UNKNOWN, add, created, error, finish, has_blob, upload_headers

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def mount(client: httpx.AsyncClient, repo: str, digest: str, source: str | None = None, **more: str) -> httpx.Response:
    params = {"mount": digest, **({"from": source} if source is not None else {}), **more}
    return await client.post(f"/v2/{repo}/blobs/uploads/", params=params)


def shape(answer: httpx.Response) -> tuple[int, bytes, dict[str, str]]:
    """All of an answer that does not name the upload or the request."""
    own = {"location", "docker-upload-uuid", "x-request-id", "date"}
    return answer.status_code, answer.content, {name: value for name, value in answer.headers.items() if name not in own}


async def test_a_mount_from_a_repository_that_has_it(client: httpx.AsyncClient, repo: str) -> None:
    item, target = blob(300_000, repo), f"{repo}/target"
    await add(client, repo, item)
    created(await mount(client, target, item.digest, repo, origin="registry.example"), target, item.digest)
    assert (await client.get(f"/v2/{target}/blobs/{item.digest}")).content == item.content
    await client.delete(f"/v2/{repo}/blobs/{item.digest}")
    assert await has_blob(client, target, item.digest)


async def test_a_mount_without_a_source_takes_what_may_be_read(client: httpx.AsyncClient, repo: str) -> None:
    item = blob(100, repo)
    await add(client, repo, item)
    created(await mount(client, f"{repo}/target", item.digest), f"{repo}/target", item.digest)


async def test_a_mount_into_itself(client: httpx.AsyncClient, repo: str) -> None:
    item = blob(100, repo)
    await add(client, repo, item)
    created(await mount(client, repo, item.digest, repo), repo, item.digest)


@pytest.mark.parametrize("source", ["absent/repo", "UPPER", "", "..", "a" * 300])
@pytest.mark.parametrize("digest", [UNKNOWN, "sha256:nonsense", ""])
async def test_a_mount_that_cannot_be_is_an_upload(client: httpx.AsyncClient, repo: str, digest: str, source: str) -> None:
    item = blob(100, repo)
    answer = await mount(client, repo, digest, source)
    assert answer.status_code == 202
    created(await finish(client, upload_headers(answer, repo, 0), item.digest, item.content), repo, item.digest)


async def test_a_failed_mount_can_be_cancelled(client: httpx.AsyncClient, repo: str) -> None:
    """What containers/image does after a 202."""
    answer = await mount(client, repo, UNKNOWN, "absent/repo")
    assert (await client.delete(answer.headers["Location"])).status_code == 204


async def test_a_mount_takes_nothing_from_a_repository_that_lost_it(client: httpx.AsyncClient, repo: str) -> None:
    """The bytes are still stored, until they are collected (CVE-2026-35172)."""
    item = blob(100, repo)
    await add(client, repo, item)
    await client.delete(f"/v2/{repo}/blobs/{item.digest}")
    for source in (repo, None):
        assert (await mount(client, f"{repo}/target", item.digest, source)).status_code == 202
    assert not await has_blob(client, f"{repo}/target", item.digest)


PAIR = "pull,push"


async def test_a_mount_needs_the_right_to_read_the_source(as_: As, repo: str) -> None:
    secret, mine, item = f"{repo}/secret", f"{repo}/mine", blob(300, repo)
    await add(as_("owner", f"repository:{secret}:{PAIR}"), secret, item)
    outsider = as_("outsider", f"repository:{mine}:{PAIR}")
    refused = [await mount(outsider, mine, item.digest, secret), await mount(outsider, mine, item.digest)]
    absent = [await mount(outsider, mine, UNKNOWN, secret), await mount(outsider, mine, UNKNOWN)]
    nowhere = await mount(outsider, mine, item.digest, f"{repo}/nowhere")
    assert all(shape(answer) == shape(nowhere) and answer.status_code == 202 for answer in refused + absent)
    assert not await has_blob(outsider, mine, item.digest)
    both = as_("both", f"repository:{mine}:{PAIR}", f"repository:{secret}:pull")
    created(await mount(both, mine, item.digest, secret), mine, item.digest)


async def test_the_right_to_push_to_the_source_is_no_right_to_read_it(as_: As, repo: str) -> None:
    secret, mine, item = f"{repo}/secret", f"{repo}/mine", blob(300, repo)
    await add(as_("owner", f"repository:{secret}:{PAIR}"), secret, item)
    pusher = as_("pusher", f"repository:{mine}:{PAIR}", f"repository:{secret}:push,delete")
    assert (await mount(pusher, mine, item.digest, secret)).status_code == 202
    assert (await mount(pusher, mine, item.digest)).status_code == 202


async def test_a_blob_of_others_looks_like_no_blob(as_: As, repo: str) -> None:
    secret, mine, item = f"{repo}/secret", f"{repo}/mine", blob(300, repo)
    await add(as_("owner", f"repository:{secret}:{PAIR}"), secret, item)
    outsider = as_("outsider", f"repository:{mine}:{PAIR},delete")
    await add(outsider, mine, blob(1, repo))
    for method in ("GET", "HEAD", "DELETE"):
        hidden = await outsider.request(method, f"/v2/{mine}/blobs/{item.digest}")
        absent = await outsider.request(method, f"/v2/{mine}/blobs/{UNKNOWN}")
        error(hidden, 404, "BLOB_UNKNOWN")
        same = (hidden.status_code, hidden.content.replace(item.digest.encode(), UNKNOWN.encode()), hidden.headers["Content-Length"])
        assert same == (absent.status_code, absent.content, absent.headers["Content-Length"])


async def test_others_blobs_take_the_time_of_no_blobs(as_: As, repo: str) -> None:
    """A band, wide enough for a busy machine: a look at storage would leave it."""
    secret, mine, item = f"{repo}/secret", f"{repo}/mine", blob(300_000, repo)
    await add(as_("owner", f"repository:{secret}:{PAIR}"), secret, item)
    outsider = as_("outsider", f"repository:{mine}:{PAIR}")
    spent: dict[str, list[float]] = {item.digest: [], UNKNOWN: []}
    for _ in range(60):
        for digest, times in spent.items():
            begin = time.perf_counter()
            await outsider.head(f"/v2/{mine}/blobs/{digest}")
            times.append(time.perf_counter() - begin)
    hidden, absent = (statistics.median(times) for times in spent.values())
    assert 0.5 < hidden / absent < 2


async def test_pushing_again_what_others_have_needs_the_bytes(as_: As, repo: str) -> None:
    """A digest alone opens nothing: the upload is checked although the store has the blob."""
    secret, mine, item = f"{repo}/secret", f"{repo}/mine", blob(300, repo)
    await add(as_("owner", f"repository:{secret}:{PAIR}"), secret, item)
    outsider = as_("outsider", f"repository:{mine}:{PAIR}")
    for content in (b"", b"guess"):
        opened = await outsider.post(f"/v2/{mine}/blobs/uploads/")
        error(await finish(outsider, opened.headers["Location"], item.digest, content), 400, "DIGEST_INVALID")
    assert not await has_blob(outsider, mine, item.digest)
