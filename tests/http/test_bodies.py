"""Bodies on the way in: backpressure, `100 Continue`, clients that leave, answers that come before the body."""

from __future__ import annotations

import contextlib
import hashlib
import os
import resource
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cargohold.config.settings import Http

from .serving import Client, Running, running

HTTP = Http(idle_timeout=1.0)


@pytest.fixture(scope="module", params=["ours", "asgi"])
def server(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("files"), HTTP, plain_asgi=request.param == "asgi") as server:
        yield server


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("files"), HTTP) as server:
        yield server


def put(path: str, *more: str) -> bytes:
    return "\r\n".join([f"PUT {path} HTTP/1.1", "Host: x", *more, "", ""]).encode()


def rss() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@pytest.mark.parametrize("chunked", [False, True])
def test_a_large_body_arrives_whole_and_in_large_pieces(server: Running, chunked: bool) -> None:
    data = os.urandom(1 << 20) * 24
    client = server.client(timeout=30)
    server.app.pieces.clear()
    if chunked:
        client.send(put("/v2/upload", "Transfer-Encoding: chunked"))
        step = 32 * 1024
        for at in range(0, len(data), step):
            piece = data[at : at + step]
            client.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        client.send(b"0\r\n\r\n")
    else:
        client.send(put("/v2/upload", f"Content-Length: {len(data)}"))
        client.send(data)
    answer = client.answer()
    assert answer.body == b"%d" % len(data)
    assert answer.headers["docker-content-digest"] == f"sha256:{hashlib.sha256(data).hexdigest()}"
    assert len(server.app.pieces) < len(data) / 16_000
    assert client.get("/v2/").status == 200


def test_a_slow_handler_holds_the_sender_back(server: Running) -> None:
    client = server.client(timeout=0.5)
    client.send(put("/v2/sip", f"Content-Length: {1 << 30}"))
    before, sent = rss(), 0
    begin = time.monotonic()
    with contextlib.suppress(TimeoutError):
        while time.monotonic() - begin < 2:
            sent += client.socket.send(bytes(1 << 16))
    assert sent < 64 << 20
    assert rss() - before < 32 << 20
    client.close()


def test_expect_is_answered_when_the_handler_reads(server: Running) -> None:
    client = server.client()
    assert client.ask(put("/v2/upload", "Content-Length: 5", "Expect: 100-continue")).status == 100
    assert client.ask(b"hello").body == b"5"
    assert client.get("/v2/").status == 200


def test_a_refusal_comes_without_100_and_ends_the_connection(ours: Running) -> None:
    client = ours.client()
    answer = client.ask(put("/v2/refuse", "Content-Length: 5000000000", "Expect: 100-continue"))
    assert (answer.status, answer.headers["connection"]) == (401, "close")
    assert client.closed()


def test_a_small_unread_body_keeps_the_connection(server: Running) -> None:
    client = server.client()
    assert client.ask(put("/v2/refuse", "Content-Length: 1000") + bytes(1000)).status == 401
    client.send(put("/v2/refuse", "Content-Length: 1000"))
    assert client.answer().status == 401
    client.send(bytes(1000))
    assert client.get("/v2/").status == 200


def test_an_answer_before_a_large_body_is_seen(ours: Running) -> None:
    """The client is in the middle of sending when it comes; a reset must not overtake it."""
    client = ours.client()
    client.send(put("/v2/refuse", f"Content-Length: {40 << 20}"))
    sender = threading.Thread(target=_pour, args=(client, 40 << 20))
    sender.start()
    answer = client.answer()
    assert (answer.status, answer.headers["connection"], answer.body) == (401, "close", b"no")
    sender.join(20)
    client.close()


def _pour(client: Client, size: int) -> None:
    with contextlib.suppress(OSError):
        for _ in range(size >> 16):
            client.socket.send(bytes(1 << 16))


@pytest.mark.parametrize("framing", ["Content-Length: 1000", "Transfer-Encoding: chunked"])
@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_cut_upload_is_told_to_the_handler(server: Running, framing: str, how: str) -> None:
    client = server.client()
    before = server.app.gone
    client.send(put("/v2/leaving", framing) + (b"5\r\nhello\r\n" if "chunked" in framing else b"hello"))
    time.sleep(0.1)
    if how == "reset":
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    client.close()
    deadline = time.monotonic() + 5
    while server.app.gone == before and time.monotonic() < deadline:
        time.sleep(0.02)
    assert server.app.gone == before + 1


def test_a_body_that_stops_is_cut_after_its_time(server: Running) -> None:
    client = server.client(timeout=8)
    before = server.app.gone
    client.send(put("/v2/leaving", "Content-Length: 1000") + b"hello")
    begin = time.monotonic()
    assert client.closed()
    assert 0.7 < time.monotonic() - begin < 4
    deadline = time.monotonic() + 5
    while server.app.gone == before and time.monotonic() < deadline:
        time.sleep(0.02)
    assert server.app.gone == before + 1


def test_a_body_that_breaks_in_the_middle_is_400(server: Running) -> None:
    client = server.client()
    client.send(put("/v2/leaving", "Transfer-Encoding: chunked") + b"5\r\nhello\r\n")
    time.sleep(0.1)
    answer = client.ask(b"nonsense\r\n")
    assert (answer.status, answer.headers["connection"]) == (400, "close")
    assert client.closed()


def test_a_get_with_a_body_is_read_too(server: Running) -> None:
    client = server.client()
    assert client.ask(b"GET /v2/upload HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc").body == b"3"
    assert client.ask(b"GET /v2/upload HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n").body == b"0"
    assert client.ask(b"GET /v2/ HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc").status == 200
    assert client.get("/v2/").status == 200
