"""`/v2/`, routing, and what every answer carries."""

from __future__ import annotations

import httpx
import pytest

from cargohold.registry import dispatch
from cargohold.testing.image import image
from cargohold.testing.push import apush
from tests.registry.wire import UNKNOWN, error

pytestmark = pytest.mark.asyncio(loop_scope="module")

REPO = "team/app"
DIGEST = image().blobs[0].digest


@pytest.fixture(scope="module")
def engine() -> str:
    """Routes are the same on every engine."""
    return "sqlite"


async def test_the_base_path_says_that_this_is_a_registry(client: httpx.AsyncClient) -> None:
    for path in ("/v2/", "/v2", "/v2//"):
        answer = await client.get(path)
        assert (answer.status_code, answer.content) == (200, b"{}")
        assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
        assert answer.headers["Docker-Distribution-Api-Version"] == "registry/2.0"
        assert answer.headers["Content-Length"] == "2" and answer.headers["X-Request-Id"]
    head = await client.head("/v2/")
    assert (head.status_code, head.content, head.headers["Content-Length"]) == (200, b"", "2")


async def test_the_root_is_a_sign_of_life(client: httpx.AsyncClient) -> None:
    answer = await client.get("/")
    assert (answer.status_code, answer.content, answer.headers["Cache-Control"]) == (200, b"", "no-cache")


async def test_configured_headers_are_on_every_answer(client: httpx.AsyncClient) -> None:
    for path in ("/v2/", "/v2/nothing", f"/v2/{REPO}/blobs/{UNKNOWN}"):
        assert (await client.get(path)).headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("path", ["/v1/_ping", "/v1/search", "/v3/", "/v2/x", "/v2/team/app", "/v2/team/app/tags", "/v2/tags/list", "/x"])
async def test_what_is_no_route_is_not_found(client: httpx.AsyncClient, path: str) -> None:
    error(await client.get(path), 404, "NAME_UNKNOWN")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("POST", "/v2/", "GET, HEAD, OPTIONS"),
        ("DELETE", "/v2/_catalog", "GET, HEAD, OPTIONS"),
        ("PUT", f"/v2/{REPO}/tags/list", "GET, HEAD, OPTIONS"),
        ("POST", f"/v2/{REPO}/manifests/1.0", "DELETE, GET, HEAD, OPTIONS, PUT"),
        ("PUT", f"/v2/{REPO}/blobs/{DIGEST}", "DELETE, GET, HEAD, OPTIONS"),
        ("GET", f"/v2/{REPO}/blobs/uploads/", "OPTIONS, POST"),
        ("POST", f"/v2/{REPO}/blobs/uploads/6f1c0000-0000-4000-8000-000000000000", "DELETE, GET, HEAD, OPTIONS, PATCH, PUT"),
        ("PATCH", f"/v2/{REPO}/referrers/{DIGEST}", "GET, HEAD, OPTIONS"),
        ("TRACE", "/v2/", "GET, HEAD, OPTIONS"),
    ],
)
async def test_another_method_is_refused_with_those_there_are(client: httpx.AsyncClient, method: str, path: str, allow: str) -> None:
    answer = await client.request(method, path)
    error(answer, 405, "UNSUPPORTED")
    assert answer.headers["Allow"] == allow
    options = await client.options(path)
    assert (options.status_code, options.headers["Allow"]) == (200, allow)


@pytest.mark.parametrize(
    "path",
    [
        "/v2/team/app/manifests/1.0",
        "/v2/team/app/manifests/1.0/",
        "/v2//team//app/manifests//1.0",
        "/v2/team%2Fapp/manifests/1.0",
        "/v2/team%2fapp/manifests/1%2E0",
        f"/v2/team/app/manifests/{image().digest.replace(':', '%3A')}",
        "/v2/team/app/manifests/1.0?ns=docker.io",
    ],
)
async def test_spellings_of_one_path(client: httpx.AsyncClient, path: str) -> None:
    digest = await apush(client, REPO, image(), "1.0")
    answer = await client.get(path)
    assert (answer.status_code, answer.headers.get("Docker-Content-Digest")) == (200, digest)


async def test_uploads_start_with_and_without_a_slash(client: httpx.AsyncClient) -> None:
    for path in (f"/v2/{REPO}/blobs/uploads", f"/v2/{REPO}/blobs/uploads/", f"/v2//{REPO}/blobs//uploads//"):
        assert (await client.post(path)).status_code == 202


@pytest.mark.parametrize("name", ["a", "a/b/c/d/e/f", "blobs", "a/manifests/b", "tags/list", "a/blobs/uploads", "a__b", "a--b", "a.b-c_d"])
async def test_names_of_any_depth_also_with_the_words_of_routes(client: httpx.AsyncClient, name: str) -> None:
    made = image(seed=name)
    digest = await apush(client, name, made, "latest")
    assert (await client.get(f"/v2/{name}/manifests/latest")).headers["Docker-Content-Digest"] == digest
    assert (await client.get(f"/v2/{name}/tags/list")).json() == {"name": name, "tags": ["latest"]}
    assert (await client.head(f"/v2/{name}/blobs/{made.blobs[0].digest}")).status_code == 200


@pytest.mark.parametrize(
    "name", ["Team/app", "team/App", "-a", "a-", "a..b", "a___b", "a._b", "%2E%2E", "a/%2e./b", ".a", "a%00", "%C3%A9", "a" * 256]
)
async def test_names_that_break_the_rules(client: httpx.AsyncClient, name: str) -> None:
    for path in (f"/v2/{name}/tags/list", f"/v2/{name}/manifests/latest", f"/v2/{name}/blobs/{UNKNOWN}", f"/v2/{name}/referrers/{UNKNOWN}"):
        error(await client.get(path), 400, "NAME_INVALID")
    answer = await client.post(f"/v2/{name}/blobs/uploads/")
    error(answer, 400, "NAME_INVALID")


async def test_a_name_of_255_characters_is_fine(client: httpx.AsyncClient) -> None:
    assert (await client.post(f"/v2/{'a' * 255}/blobs/uploads/")).status_code == 202


async def test_long_paths_are_located_and_not_remembered() -> None:
    """Thousands of them, as long as a URL may be, would fill the memory of a worker."""
    before = dispatch._remembered.cache_info().currsize
    route, parts = dispatch.locate(f"/v2/team/app/manifests/{'x' * 600}")
    assert (route.name, parts) == ("manifest", ("team/app", "x" * 600))
    assert dispatch._remembered.cache_info().currsize == before
