"""Settings that change answers: read-only, no deleting, where Location points, open uploads, the prefix."""

from __future__ import annotations

import httpx
import msgspec
import pytest

from cargohold.config.settings import Http, Limits, Settings, Storage
from cargohold.testing.image import blob, image
from cargohold.testing.push import apull, apush
from cargohold.testing.server import registry
from tests.registry.wire import UNKNOWN, error, finish, put_manifest, start

pytestmark = pytest.mark.asyncio(loop_scope="module")


def storage(settings: Settings, **members: object) -> Settings:
    changed: Storage = msgspec.structs.replace(settings.storage, **members)
    return msgspec.structs.replace(settings, storage=changed)


def http(settings: Settings, **members: object) -> Settings:
    changed: Http = msgspec.structs.replace(settings.http, **members)
    return msgspec.structs.replace(settings, http=changed)


async def test_a_read_only_registry_reads(settings: Settings, client: httpx.AsyncClient, repo: str) -> None:
    digest = await apush(client, repo, image(), "v1")
    location = await start(client, repo)
    async with registry(storage(settings, readonly=True), keeper=False) as running:
        assert (await apull(running.client, repo, "v1")).digest == digest
        for method, path in (
            ("POST", f"/v2/{repo}/blobs/uploads/"),
            ("POST", f"/v2/{repo}/blobs/uploads/?digest={blob(3).digest}"),
            ("POST", f"/v2/{repo}/new/blobs/uploads/?mount={image().blobs[0].digest}&from={repo}"),
            ("PATCH", location),
            ("PUT", f"{location}?digest={blob(3).digest}"),
            ("PUT", f"/v2/{repo}/manifests/v2"),
            ("DELETE", f"/v2/{repo}/manifests/v1"),
            ("DELETE", f"/v2/{repo}/manifests/{digest}"),
            ("DELETE", f"/v2/{repo}/blobs/{image().blobs[0].digest}"),
        ):
            content = b"" if method == "DELETE" else image().body if "manifests" in path else blob(3).content
            error(await running.client.request(method, path, content=content), 405, "UNSUPPORTED")
    assert (await apull(client, repo, "v1")).digest == digest


async def test_deleting_can_be_off(settings: Settings, client: httpx.AsyncClient, repo: str) -> None:
    async with registry(storage(settings, delete=False), keeper=False) as running:
        digest = await apush(running.client, repo, image(), "v1")
        for path in (f"manifests/{digest}", "manifests/v1", f"blobs/{image().blobs[0].digest}", f"manifests/{UNKNOWN}", f"blobs/{UNKNOWN}"):
            error(await running.client.delete(f"/v2/{repo}/{path}"), 405, "UNSUPPORTED")
        location = await start(running.client, repo)
        assert (await running.client.delete(location)).status_code == 204, "an upload can always be given up"
        assert (await apull(running.client, repo, "v1")).digest == digest


async def locations(settings: Settings, repo: str, **headers: str) -> list[str]:
    """Every kind of Location and Link that a client meets."""
    async with registry(settings, keeper=False) as running:
        client = running.client_from(**headers)
        prefix = settings.http.prefix.rstrip("/")
        opened = await client.post(f"{prefix}/v2/{repo}/blobs/uploads/")
        item = blob(10)
        done = await client.post(f"{prefix}/v2/{repo}/blobs/uploads/", params={"digest": item.digest}, content=item.content)
        made = image(layers=0)
        for config in made.blobs:
            await client.post(f"{prefix}/v2/{repo}/blobs/uploads/", params={"digest": config.digest}, content=config.content)
        for tag in ("a", "b"):
            put = await client.put(f"{prefix}/v2/{repo}/manifests/{tag}", content=made.body, headers={"Content-Type": made.media_type})
        page = await client.get(f"{prefix}/v2/{repo}/tags/list?n=1")
        return [*(answer.headers["Location"] for answer in (opened, done, put)), page.headers["Link"].removeprefix("<")]


async def test_locations_are_relative(settings: Settings, repo: str) -> None:
    for headers in ({}, {"x_forwarded_host": "evil.example"}, {"host": "evil.example"}):
        assert all(text.startswith(f"/v2/{repo}/") for text in await locations(settings, repo, **headers))


async def test_locations_below_a_configured_host(settings: Settings, repo: str) -> None:
    found = await locations(http(settings, host="https://registry.example/"), repo)
    assert all(text.startswith(f"https://registry.example/v2/{repo}/") for text in found)


async def test_locations_as_registry_2_makes_them(settings: Settings, repo: str) -> None:
    absolute = http(settings, relativeurls=False)
    assert all(text.startswith(f"http://registry.test/v2/{repo}/") for text in await locations(absolute, repo))
    async with registry(absolute, keeper=False) as running:
        headers = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "proxy.example:8443, inner"}
        opened = await running.client.post(f"/v2/{repo}/blobs/uploads/", headers=headers)
        assert opened.headers["Location"].startswith(f"https://proxy.example:8443/v2/{repo}/blobs/uploads/")


async def test_a_prefix_before_v2(settings: Settings, repo: str) -> None:
    below = http(settings, prefix="/registry/")
    assert all(text.startswith(f"/registry/v2/{repo}/") for text in await locations(below, repo))
    async with registry(below, keeper=False) as running:
        assert (await running.client.get("/registry/v2/")).json() == {}


async def test_open_uploads_are_bounded(settings: Settings, repo: str) -> None:
    narrow = msgspec.structs.replace(settings, limits=Limits(uploads=1))
    async with registry(narrow) as running:
        answers = [await running.client.post(f"/v2/{repo}/blobs/uploads/") for _ in range(3)]
        statuses = [answer.status_code for answer in answers]
        assert statuses[0] in (202, 429) and set(statuses) <= {202, 429}


async def test_a_push_that_found_deleting_off_still_works(settings: Settings, repo: str) -> None:
    async with registry(storage(settings, delete=False), keeper=False) as running:
        assert (await put_manifest(running.client, repo, "v1", image())).status_code == 201
        location = await start(running.client, repo)
        assert (await finish(running.client, location, blob(3).digest, blob(3).content)).status_code == 201
