"""The three ways to the endpoint (fast path, task from the start, uvicorn's ASGI cycle) answer the same."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from cargohold.config.settings import Http
from cargohold.http.asgi import EndpointApp

from .fake import FakeApp
from .serving import Answer, Running, running

REQUESTS = [
    ("GET", "/v2/"),
    ("GET", "/"),
    ("GET", "/v2//a%2Fb/..%2f/c%25?x=%41&y"),
    ("HEAD", "/v2/"),
    ("OPTIONS", "/v2/"),
    ("GET", "/v2/file/small"),
    ("HEAD", "/v2/file/small"),
    ("GET", "/v2/file/small?10-19"),
    ("GET", "/v2/file/large"),
    ("HEAD", "/v2/file/large"),
    ("GET", "/v2/file/large?70000-300000"),
    ("GET", "/v2/file/empty?0--1"),
    ("GET", "/v2/slow?0.01"),
    ("GET", "/v2/turns"),
    ("GET", "/v2/stream?5"),
    ("HEAD", "/v2/stream?5"),
    ("GET", "/v2/unopened"),
    ("GET", "/v2/denied"),
    ("HEAD", "/v2/denied"),
    ("GET", "/v2/bug"),
    ("GET", "/v2/split"),
    ("GET", "/v2/empty"),
    ("GET", "/v2/notmodified"),
    ("GET", "/v2/length"),
    ("HEAD", "/v2/length"),
    ("GET", "/v2/refuse"),
    ("POST", "/v2/upload"),
    ("PUT", "/v2/upload"),
]
HTTP = Http(headers={"X-Content-Type-Options": ["nosniff"], "X-Two": ["a", "b"]})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    (folder / "small").write_bytes(bytes(range(256)) * 16)
    (folder / "large").write_bytes(bytes(range(251)) * 4000)
    (folder / "empty").write_bytes(b"")
    return folder


@pytest.fixture(scope="module")
def fast(folder: Path) -> Iterator[Running]:
    with running(folder, HTTP) as server:
        yield server


@pytest.fixture(scope="module", params=["task", "asgi"])
def other(folder: Path, request: pytest.FixtureRequest) -> Iterator[Running]:
    with running(folder, HTTP, inline=False, plain_asgi=request.param == "asgi") as server:
        yield server


def ask(server: Running, method: str, target: str, version: str = "1.1", *more: str) -> Answer:
    client = server.client()
    body = b"some bytes" if method in ("PUT", "POST") else b""
    lines = [f"{method} {target} HTTP/{version}", "Host: x", "X-Request-Id: given-1", *more]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    answer = client.ask("\r\n".join([*lines, "", ""]).encode() + body, head_only=method == "HEAD")
    client.close()
    return answer


def comparable(answer: Answer) -> tuple[int, dict[str, str], bytes]:
    headers = {name: value for name, value in answer.headers.items() if name != "date"}
    return answer.status, headers, answer.body


@pytest.mark.parametrize(("method", "target"), REQUESTS)
def test_every_way_answers_the_same(fast: Running, other: Running, method: str, target: str) -> None:
    assert comparable(ask(fast, method, target)) == comparable(ask(other, method, target))


@pytest.mark.parametrize(
    ("method", "target"), [("GET", "/v2/"), ("GET", "/v2/file/large"), ("HEAD", "/v2/file/small"), ("PUT", "/v2/upload")]
)
@pytest.mark.parametrize("more", [(), ("Connection: keep-alive",), ("Connection: close",)])
def test_http_1_0_is_the_same_too(fast: Running, other: Running, method: str, target: str, more: tuple[str, ...]) -> None:
    first, second = ask(fast, method, target, "1.0", *more), ask(other, method, target, "1.0", *more)
    assert comparable(first) == comparable(second)
    assert first.headers["connection"] == ("keep-alive" if "Connection: keep-alive" in more else "close")


def test_the_answer_has_what_every_answer_has(fast: Running) -> None:
    answer = ask(fast, "GET", "/v2/")
    assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", answer.headers["date"])
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-request-id"] == "given-1"
    assert answer.head.count(b"X-Two: ") == 2


def test_request_ids_are_unique_and_only_sane_ones_are_taken_over(fast: Running) -> None:
    client = fast.client()
    ids = [client.get("/v2/", *more).headers["x-request-id"] for more in ((), (), ("X-Request-Id: a b",), ("X-Request-Id: " + "x" * 200,))]
    assert len(set(ids)) == 4
    assert all(re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]+", id) for id in ids)


def test_header_names_keep_their_case(fast: Running) -> None:
    assert b"\r\nDocker-Content-Digest: sha256:" in ask(fast, "PUT", "/v2/upload").head


def test_a_bug_is_500_in_oci_form_and_says_nothing_of_the_inside(fast: Running) -> None:
    answer = ask(fast, "GET", "/v2/bug")
    assert answer.status == 500
    assert b'"code":"UNKNOWN"' in answer.body
    assert b"hunter2" not in answer.body


def test_a_header_with_a_line_break_is_never_sent(fast: Running) -> None:
    answer = ask(fast, "GET", "/v2/split")
    assert answer.status == 500
    assert "set-cookie" not in answer.headers


def test_files_stay_open_no_longer_than_the_answer(fast: Running) -> None:
    fds = Path("/proc/self/fd")
    client = fast.client()
    client.get("/v2/")
    before = len(list(fds.iterdir()))
    for target in ("/v2/file/small", "/v2/file/large"):
        for method in ("GET", "HEAD"):
            assert client.get(target, method=method).status == 200
    assert len(list(fds.iterdir())) == before


async def test_the_adaptor_serves_a_client_library_without_a_server(folder: Path) -> None:
    app = EndpointApp(FakeApp(folder).endpoint, {})
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://registry") as client:
        answer = await client.put("/v2/upload", content=b"abc")
        assert (answer.status_code, answer.text) == (201, "3")
        large = await client.get("/v2/file/large")
        assert large.content == (folder / "large").read_bytes()
        assert (await client.get("/v2//a%2Fb")).json()["path"] == "/v2//a%2Fb"
