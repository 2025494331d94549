"""Tag lists and the catalog: order, pages, links, limits."""

from __future__ import annotations

import re
from typing import Any

import httpx
import msgspec
import pytest

from cargohold.config.settings import Limits, Settings
from cargohold.testing.image import image
from cargohold.testing.push import apush
from cargohold.testing.server import registry
from tests.registry.wire import add, error, store

pytestmark = pytest.mark.asyncio(loop_scope="module")

TAGS = ["1.0", "1.10", "1.9", "A", "Z", "_x", "a", "a-b", "a.b", "latest", "z"]
"""In byte order."""
NEXT = re.compile(r'<([^>]+)>; rel="next"')


async def tagged(client: httpx.AsyncClient, repo: str, tags: list[str]) -> None:
    await add(client, repo, *image().blobs)
    for tag in reversed(tags):
        assert (await store(client, repo, tag, image().body, image().media_type)).status_code == 201


async def listed(client: httpx.AsyncClient, path: str, key: str) -> list[list[str]]:
    """Every page, following the links as clients do."""
    pages = []
    url: str | None = path
    while url is not None:
        answer = await client.get(url)
        assert answer.status_code == 200, answer.text
        assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
        pages.append(answer.json()[key])
        match = NEXT.fullmatch(answer.headers["Link"]) if "Link" in answer.headers else None
        url = match[1] if match else None
        assert url is None or url.startswith(path.partition("?")[0])
    return pages


async def test_all_tags_in_byte_order(client: httpx.AsyncClient, repo: str) -> None:
    await tagged(client, repo, TAGS)
    answer = await client.get(f"/v2/{repo}/tags/list")
    assert answer.json() == {"name": repo, "tags": TAGS}
    assert "Link" not in answer.headers
    assert (await client.get(f"/v2/{repo}/tags/list/")).json()["tags"] == TAGS


@pytest.mark.parametrize("n", [1, 2, 3, 5, 10, 11, 12])
async def test_pages_are_full_and_end(client: httpx.AsyncClient, repo: str, n: int) -> None:
    await tagged(client, repo, TAGS)
    pages = await listed(client, f"/v2/{repo}/tags/list?n={n}", "tags")
    assert pages == [TAGS[start : start + n] for start in range(0, len(TAGS), n)]


async def test_the_link_of_a_page(client: httpx.AsyncClient, repo: str) -> None:
    await tagged(client, repo, TAGS)
    answer = await client.get(f"/v2/{repo}/tags/list", params={"n": 3, "x": "y", "ns": "docker.io"})
    assert answer.headers["Link"] == f'</v2/{repo}/tags/list?last=1.9&n=3>; rel="next"'


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("last=1.9", TAGS[3:]),
        ("last=1.5", TAGS[2:]),
        ("last=", TAGS),
        ("last=zzz", []),
        ("last=Z&n=2", TAGS[5:7]),
        ("n=0", []),
        ("n=0&last=A", []),
        ("n=1000000000", TAGS),
        ("n=9999999999999999999999999", TAGS),
        ("last=a%00", TAGS[7:]),
        ("last=%F0%9F%90%B3", []),
        ("n=2&n=5", TAGS[:2]),
    ],
)
async def test_last_and_n(client: httpx.AsyncClient, repo: str, query: str, expected: list[str]) -> None:
    await tagged(client, repo, TAGS)
    answer = await client.get(f"/v2/{repo}/tags/list?{query}")
    assert (answer.status_code, answer.json()["tags"]) == (200, expected)


@pytest.mark.parametrize("n", ["-1", "x", "1.5", "", "١", "1e3", " 1"])
async def test_an_n_that_is_none(client: httpx.AsyncClient, repo: str, n: str) -> None:
    await tagged(client, repo, ["a"])
    error(await client.get(f"/v2/{repo}/tags/list", params={"n": n}), 400, "PAGINATION_NUMBER_INVALID")


async def test_a_repository_that_is_not_there(client: httpx.AsyncClient, repo: str) -> None:
    assert error(await client.get(f"/v2/{repo}/tags/list"), 404, "NAME_UNKNOWN") == {"name": repo}


async def test_a_repository_without_tags_has_an_empty_list(client: httpx.AsyncClient, repo: str) -> None:
    digest = await apush(client, repo, image(), None)
    assert (await client.get(f"/v2/{repo}/tags/list")).json() == {"name": repo, "tags": []}
    await client.delete(f"/v2/{repo}/manifests/{digest}")
    assert (await client.get(f"/v2/{repo}/tags/list")).json()["tags"] == []


@pytest.fixture(scope="module")
def narrow(settings: Settings) -> Settings:
    return msgspec.structs.replace(settings, limits=Limits(tags_page=3, catalog_page=4))


async def test_n_over_the_cap_is_cut_to_it(narrow: Settings, repo: str) -> None:
    async with registry(narrow, keeper=False) as running:
        await tagged(running.client, repo, TAGS)
        assert [len(page) for page in await listed(running.client, f"/v2/{repo}/tags/list?n=100", "tags")] == [3, 3, 3, 2]
        assert (await running.client.get(f"/v2/{repo}/tags/list")).json()["tags"] == TAGS


async def test_the_catalog(narrow: Settings, client: httpx.AsyncClient, repo: str) -> None:
    """Component-wise order: `a/b` before `a-b`, as registry:2 walks its folders. Names start with this test's own first part."""
    root = repo.partition("/")[0]
    names = [f"{root}/{name}" for name in ("a", "a/b", "a/b/c", "a-b", "a0", "b", "z/z")]
    for name in reversed(names):
        await apush(client, name, image(), "v1")
    whole = await listed(client, "/v2/_catalog?n=3", "repositories")
    assert all(len(page) == 3 for page in whole[:-1])
    mine = [name for page in whole for name in page if name.startswith(f"{root}/")]
    assert mine == names
    start = await client.get("/v2/_catalog", params={"last": names[1], "n": 2})
    assert start.json()["repositories"] == names[2:4]
    assert NEXT.fullmatch(start.headers["Link"])
    async with registry(narrow, keeper=False) as running:
        assert len((await running.client.get("/v2/_catalog")).json()["repositories"]) == 4
        error(await running.client.get("/v2/_catalog?n=5"), 400, "PAGINATION_NUMBER_INVALID")


@pytest.mark.parametrize(("n", "count"), [("0", 0), ("1", 1), ("-1", None), ("x", None), ("", None)])
async def test_n_of_the_catalog_as_registry_2_reads_it(client: httpx.AsyncClient, repo: str, n: str, count: int | None) -> None:
    await apush(client, repo, image(), "v1")
    answer = await client.get("/v2/_catalog", params={"n": n})
    found: list[Any] = answer.json()["repositories"]
    assert answer.status_code == 200 and (len(found) == count if count is not None else found)
    assert n != "0" or "Link" not in answer.headers


@pytest.mark.parametrize("n", ["1001", "99999999999999999999999999"])
async def test_n_of_the_catalog_over_the_cap(client: httpx.AsyncClient, n: str) -> None:
    error(await client.get("/v2/_catalog", params={"n": n}), 400, "PAGINATION_NUMBER_INVALID")
