"""Conversations of real clients, request by request, with tokens: what each sends, and what it needs to hear to go on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import msgspec
import pytest

from cargohold.config.settings import Settings
from cargohold.testing.image import DOCKER_IMAGE, OCI_INDEX, artifact, blob, image, multi_arch
from cargohold.testing.push import apull, apush, with_query
from cargohold.testing.server import Running, registry
from cargohold.testing.tokens import TokenService
from tests.registry.conftest import As
from tests.registry.wire import created, error, has_blob, pieces, upload_headers

pytestmark = pytest.mark.asyncio(loop_scope="module")

REALM = 'Bearer realm="https://auth.example/token",service="registry.example"'


async def test_docker_login(guarded: Running, as_: As) -> None:
    """The challenge has no scope, and a token without any access passes."""
    refused = await guarded.client.get("/v2/")
    error(refused, 401, "UNAUTHORIZED")
    assert refused.headers["WWW-Authenticate"] == REALM
    assert (await as_("ann").get("/v2/")).json() == {}


async def test_a_client_that_asks_only_when_it_is_told(guarded: Running, as_: As, repo: str) -> None:
    """containerd, oras and buildkit send the first request bare and take the scope from the answer."""
    refused = await guarded.client.post(f"/v2/{repo}/blobs/uploads/")
    assert refused.headers["WWW-Authenticate"] == f'{REALM},scope="repository:{repo}:pull,push"'
    assert (await as_("ann", f"repository:{repo}:pull,push").post(f"/v2/{repo}/blobs/uploads/")).status_code == 202


async def test_dockerd_pushes_and_pulls(as_: As, repo: str) -> None:
    """Its older store: ping, HEAD, POST, PATCH in chunks without a range, empty PUT, HEAD again; by tag with HEAD, then by digest."""
    docker = as_("ann", f"repository:{repo}:pull,push")
    made = image(format="docker", layers=2, size=100_000, seed=repo)
    for item in made.blobs:
        assert (await docker.head(f"/v2/{repo}/blobs/{item.digest}")).status_code == 404
        opened = await docker.post(f"/v2/{repo}/blobs/uploads/", content=b"")
        moved = await docker.patch(upload_headers(opened, repo, 0), content=pieces(item.content))
        location = upload_headers(moved, repo, len(item.content))
        created(await docker.put(with_query(location, digest=item.digest), content=b""), repo, item.digest)
        assert (await docker.head(f"/v2/{repo}/blobs/{item.digest}")).headers["Content-Length"] == str(len(item.content))
    put = await docker.put(f"/v2/{repo}/manifests/1.0", content=made.body, headers={"Content-Type": DOCKER_IMAGE})
    assert put.headers["Docker-Content-Digest"] == made.digest
    accept = [("Accept", text) for text in (DOCKER_IMAGE, OCI_INDEX, "application/json")]
    head = await docker.head(f"/v2/{repo}/manifests/1.0", headers=accept)
    assert (head.headers["Docker-Content-Digest"], head.headers["Content-Type"]) == (made.digest, DOCKER_IMAGE)
    assert (await docker.get(f"/v2/{repo}/manifests/{made.digest}", headers=accept)).content == made.body


async def test_dockerd_goes_on_with_a_broken_download(as_: As, repo: str) -> None:
    docker, item = as_("ann", f"repository:{repo}:pull,push"), blob(10_000)
    await docker.post(f"/v2/{repo}/blobs/uploads/", params={"digest": item.digest}, content=item.content)
    answer = await docker.get(f"/v2/{repo}/blobs/{item.digest}", headers={"Range": "bytes=4096-"})
    assert (answer.status_code, answer.headers["Content-Range"]) == (206, "bytes 4096-9999/10000")


async def test_containerd_as_a_mirror(as_: As, repo: str) -> None:
    """`ns` is on every request, also on the finish of an upload; all manifests of an index come before it, at once."""
    containerd = as_("ann", f"repository:{repo}:pull,push")
    made = multi_arch(seed=repo)
    for item in {item.digest: item for child in made.children for item in child.blobs}.values():
        opened = await containerd.post(f"/v2/{repo}/blobs/uploads/?ns=docker.io")
        location = with_query(opened.headers["Location"], ns="docker.io", digest=item.digest)
        assert (await containerd.put(location, content=item.content)).status_code == 201
    puts = [
        containerd.put(f"/v2/{repo}/manifests/{child.digest}?ns=docker.io", content=child.body, headers={"Content-Type": child.media_type})
        for child in made.children
    ]
    assert [answer.status_code for answer in await asyncio.gather(*puts)] == [201, 201]
    put = await containerd.put(f"/v2/{repo}/manifests/1.0?ns=docker.io", content=made.body, headers={"Content-Type": made.media_type})
    assert put.status_code == 201
    head = await containerd.head(f"/v2/{repo}/manifests/1.0?ns=docker.io", headers={"Accept": f"{OCI_INDEX}, */*"})
    assert head.headers["Docker-Content-Digest"] == made.digest


async def test_podman_after_a_mount_that_failed(as_: As, repo: str) -> None:
    """It takes back the upload that the failed mount opened, then starts its own."""
    podman, item = as_("ann", f"repository:{repo}:pull,push"), blob(500, repo)
    answer = await podman.post(f"/v2/{repo}/blobs/uploads/", params={"mount": item.digest, "from": "library/alpine"})
    assert answer.status_code == 202
    assert (await podman.delete(answer.headers["Location"])).status_code == 204
    await apush(podman, repo, image(seed=repo), "1.0", style="docker")
    assert (await apull(podman, repo, "1.0")).digest == image(seed=repo).digest


async def test_oras_attaches(as_: As, repo: str) -> None:
    """It asks for the referrers of a digest of zeros to see that the API is there, and trusts OCI-Subject."""
    oras, subject = as_("ann", f"repository:{repo}:pull,push"), image(seed=repo)
    await apush(oras, repo, subject, "1.0")
    ping = await oras.get(f"/v2/{repo}/referrers/sha256:{'0' * 64}")
    assert (ping.status_code, ping.headers["Content-Type"]) == (200, OCI_INDEX)
    digest = await apush(oras, repo, artifact(subject=subject))
    found = (await oras.get(f"/v2/{repo}/referrers/{subject.digest}")).json()["manifests"]
    assert [item["digest"] for item in found] == [digest]


async def test_cosign_looks_for_a_signature_that_is_not_there(as_: As, repo: str) -> None:
    cosign, subject = as_("ann", f"repository:{repo}:pull,push"), image(seed=repo)
    await apush(cosign, repo, subject, "1.0")
    tag = f"{subject.digest.replace(':', '-')}.sig"
    error(await cosign.get(f"/v2/{repo}/manifests/{tag}"), 404, "MANIFEST_UNKNOWN")
    await apush(cosign, repo, artifact(seed=repo), tag)
    assert (await apull(cosign, repo, tag)).digest == artifact(seed=repo).digest


async def test_a_token_that_ends_while_a_body_streams_does_not_break_the_push(
    settings: Settings, token_service: TokenService, folder: Path, repo: str
) -> None:
    """The right was there when the step began; the next step needs a fresh token, and goes on where this one stood."""
    auth = token_service.settings(folder)
    strict = msgspec.structs.replace(auth, token=msgspec.structs.replace(auth.token, leeway=0))
    item = blob(600_000, repo)
    scope = f"repository:{repo}:pull,push"

    async def slowly() -> AsyncIterator[bytes]:
        yield item.content[:300_000]
        await asyncio.sleep(1.2)
        yield item.content[300_000:]

    async with registry(msgspec.structs.replace(settings, auth=strict), keeper=False) as running:

        def client(lifetime: float) -> httpx.AsyncClient:
            return running.client_from(authorization=f"Bearer {token_service.token('ann', scope, lifetime=lifetime)}")

        location = (await client(60).post(f"/v2/{repo}/blobs/uploads/")).headers["Location"]
        short = client(1)
        moved = await short.patch(location, content=slowly())
        assert moved.status_code == 202
        refused = await short.put(with_query(location, digest=item.digest))
        error(refused, 401, "UNAUTHORIZED")
        assert refused.headers["WWW-Authenticate"] == f'{REALM},scope="{scope}",error="invalid_token"'
        created(await client(60).put(with_query(location, digest=item.digest)), repo, item.digest)
        assert await has_blob(client(60), repo, item.digest)
