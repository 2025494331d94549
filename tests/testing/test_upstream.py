"""The fake upstream: what it serves, its faults, its tokens."""

from __future__ import annotations

import time
from collections.abc import Iterator

import httpx
import pytest

from cargohold.testing.image import image, multi_arch
from cargohold.testing.push import Refused, WrongBytes, pull
from cargohold.testing.upstream import Cut, Lie, Slow, Status, Upstream


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with Upstream() as running:
        yield running


@pytest.fixture
def client(upstream: Upstream) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=upstream.url, trust_env=False) as made:
        yield made


def test_what_was_added_can_be_pulled(upstream: Upstream, client: httpx.Client) -> None:
    upstream.add("library/alpine", multi_arch(), "3.20")
    assert pull(client, "library/alpine", "3.20").digest == multi_arch().digest
    assert client.get("/v2/library/alpine/tags/list").json() == {"name": "library/alpine", "tags": ["3.20"]}
    assert [seen.path for seen in upstream.requests][:1] == ["/v2/library/alpine/manifests/3.20"]


def test_what_was_removed_is_gone(upstream: Upstream, client: httpx.Client) -> None:
    upstream.add("app", image(), "1")
    upstream.remove("app", "1")
    assert client.head("/v2/app/manifests/1").status_code == 404
    assert client.get("/v2/app/tags/list").json()["tags"] == []


def test_ranges(upstream: Upstream, client: httpx.Client) -> None:
    upstream.add("app", image())
    item = image().blobs[0]
    part = client.get(f"/v2/app/blobs/{item.digest}", headers={"Range": "bytes=10-"})
    assert (part.status_code, part.content) == (206, item.content[10:])
    assert client.get(f"/v2/app/blobs/{item.digest}", headers={"Range": "bytes=999999-"}).status_code == 416


def test_faults_strike_as_often_as_told(upstream: Upstream, client: httpx.Client) -> None:
    upstream.add("app", image(), "1")
    upstream.fail("/manifests/", Status(429, retry_after=7), times=2)
    for _ in range(2):
        answer = client.get("/v2/app/manifests/1")
        assert (answer.status_code, answer.headers["Retry-After"]) == (429, "7")
    assert pull(client, "app", "1").digest == image().digest


def test_a_cut_body_was_announced_whole(upstream: Upstream, client: httpx.Client) -> None:
    upstream.add("app", image(), "1")
    upstream.fail("/blobs/", Cut(after=5))
    with pytest.raises(httpx.RemoteProtocolError):
        pull(client, "app", "1")


def test_a_lie_is_in_the_bytes_alone(upstream: Upstream, client: httpx.Client) -> None:
    upstream.add("app", image(), "1")
    upstream.fail("/manifests/", Lie())
    with pytest.raises(WrongBytes):
        pull(client, "app", "1")


def test_slow_is_slow(upstream: Upstream, client: httpx.Client) -> None:
    upstream.fail("/v2/", Slow(0.2))
    start = time.monotonic()
    assert client.get("/v2/").status_code == 200
    assert time.monotonic() - start >= 0.2


def test_with_credentials_a_token_is_needed() -> None:
    with Upstream(credentials=("ann", "secret")) as upstream, httpx.Client(base_url=upstream.url, trust_env=False) as client:
        upstream.add("app", image(), "1")
        with pytest.raises(Refused) as refused:
            pull(client, "app", "1")
        challenge = refused.value.response.headers["WWW-Authenticate"]
        assert challenge == f'Bearer realm="{upstream.url}/token",service="upstream",scope="repository:app:pull"'
        assert client.get("/token").status_code == 401
        token = client.get("/token", auth=("ann", "secret")).json()["token"]
        client.headers["Authorization"] = f"Bearer {token}"
        assert pull(client, "app", "1").digest == image().digest
