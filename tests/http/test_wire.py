"""What stands on the wire: broken requests, order, keep-alive, and the server's own answers. Both ways in, where both must hold."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cargohold.config.settings import Http

from .serving import Answer, Client, Running, running

HTTP = Http(header_limit=8192, header_timeout=1.0, keepalive=1.0, max_connections=20)

BROKEN = {
    "no method": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "words": b"hello there\r\n\r\n",
    "no host": b"GET /v2/ HTTP/1.1\r\n\r\n",
    "two hosts": b"GET /v2/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "length twice": b"PUT /v2/upload HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "same length twice": b"PUT /v2/upload HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    "length and chunked": b"PUT /v2/upload HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked and length": b"PUT /v2/upload HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
    "chunked twice": b"PUT /v2/upload HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "length is no number": b"PUT /v2/upload HTTP/1.1\r\nHost: x\r\nContent-Length: 3x\r\n\r\nabc",
    "negative length": b"PUT /v2/upload HTTP/1.1\r\nHost: x\r\nContent-Length: -3\r\n\r\nabc",
    "huge length": b"PUT /v2/upload HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\nabc",
    "line feeds only": b"GET /v2/ HTTP/1.1\nHost: x\n\n",
    "line feed smuggling": b"GET /v2/ HTTP/1.1\r\nHost: x\r\nX: a\nContent-Length: 5\r\n\r\nhello",
    "folded header": b"GET /v2/ HTTP/1.1\r\nHost: x\r\nX: a\r\n b\r\n\r\n",
    "NUL in a value": b"GET /v2/ HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n",
    "NUL in the path": b"GET /v2/\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
    "space before the colon": b"GET /v2/ HTTP/1.1\r\nHost : x\r\n\r\n",
    "space in the path": b"GET /v2/a b HTTP/1.1\r\nHost: x\r\n\r\n",
    "high bytes in the path": "GET /v2/ä HTTP/1.1\r\nHost: x\r\n\r\n".encode(),
    "chunk size": b"PUT /v2/upload HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n",
    "chunk end": b"PUT /v2/upload HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcdef\r\n0\r\n\r\n",
    "chunk size too large": b"PUT /v2/upload HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nabc",
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/3.7": b"GET /v2/ HTTP/3.7\r\nHost: x\r\n\r\n",
    "CONNECT": b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    (folder / "large").write_bytes(bytes(range(251)) * 80_000)
    return folder


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Running]:
    with running(folder, HTTP) as server:
        yield server


@pytest.fixture(scope="module", params=["ours", "asgi"])
def either(folder: Path, request: pytest.FixtureRequest) -> Iterator[Running]:
    with running(folder, HTTP, plain_asgi=request.param == "asgi") as server:
        yield server


@pytest.fixture
def client(server: Running) -> Iterator[Client]:
    client = server.client()
    yield client
    client.close()


def refused(answer: Answer, status: int) -> None:
    assert answer.status == status, answer
    assert answer.headers["connection"] == "close"
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    assert json.loads(answer.body)["errors"][0]["message"]


@pytest.mark.parametrize("name", BROKEN)
def test_what_breaks_http_is_400_and_the_end(server: Running, name: str) -> None:
    client = server.client(timeout=5)
    refused(client.ask(BROKEN[name]), 400)
    client.send(b"GET /v2/smuggled HTTP/1.1\r\nHost: x\r\n\r\n")
    assert client.closed()
    assert "/v2/smuggled" not in server.app.seen


def test_an_unknown_transfer_coding_is_501(client: Client) -> None:
    refused(client.ask(b"PUT /v2/upload HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"), 501)


def test_an_offer_to_upgrade_is_passed_over(either: Running) -> None:
    client = either.client()
    answer = client.get("/v2/", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA")
    assert answer.status == 200
    answer = client.get("/v2/", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: x", "Sec-WebSocket-Version: 13")
    assert answer.status == 200
    assert client.get("/v2/").status == 200


def test_a_request_byte_by_byte(either: Running) -> None:
    client = either.client()
    for byte in b"PUT /v2/upload HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\nTrailer: x\r\n\r\n":
        client.send(bytes([byte]))
    assert client.answer().body == b"3"
    assert client.get("/v2/").status == 200


def test_pipelined_requests_are_answered_in_order(either: Running) -> None:
    client = either.client()
    targets = ["slow?0.2", "a", "file/large", "b", "turns", "upload", "c", "stream?2", "d"]
    data = b""
    for target in targets:
        body = b"Content-Length: 5\r\n\r\nhello" if target == "upload" else b"\r\n"
        data += b"%b /v2/%b HTTP/1.1\r\nHost: x\r\n%b" % (b"PUT" if target == "upload" else b"GET", target.encode(), body)
    client.send(data)
    bodies = [client.answer().body for _ in targets]
    assert [json.loads(bodies[place])["path"] for place in (1, 3, 6, 8)] == ["/v2/a", "/v2/b", "/v2/c", "/v2/d"]
    assert bodies[0] == b"slow"
    assert bodies[2] == bytes(range(251)) * 80_000
    assert (bodies[4], bodies[5], bodies[7]) == (b"turned", b"5", b"0,1,")


def test_many_pipelined_requests(either: Running) -> None:
    client = either.client()
    client.send(b"".join(b"GET /v2/%d HTTP/1.1\r\nHost: x\r\n\r\n" % number for number in range(3000)))
    assert [json.loads(client.answer().body)["path"] for _ in range(3000)] == [f"/v2/{number}" for number in range(3000)]


def test_a_broken_request_waits_for_the_answers_before_it(server: Running, client: Client) -> None:
    client.send(b"GET /v2/slow?0.2 HTTP/1.1\r\nHost: x\r\n\r\nGET /v2/a HTTP/1.1\r\nHost: x\r\n\r\nnot http\r\n\r\n")
    assert client.answer().body == b"slow"
    assert client.answer().status == 200
    refused(client.answer(), 400)
    assert client.closed()


def test_nothing_is_answered_after_connection_close(either: Running) -> None:
    client = either.client()
    client.send(b"GET /v2/a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\nGET /v2/after HTTP/1.1\r\nHost: x\r\n\r\n")
    answer = client.answer()
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    assert client.closed()
    assert client.buffer == b""
    assert "/v2/after" not in either.app.seen


def test_http_1_0_closes_unless_asked(either: Running) -> None:
    client = either.client()
    assert client.ask(b"GET /v2/ HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").headers["connection"] == "keep-alive"
    assert client.ask(b"GET /v2/ HTTP/1.0\r\n\r\n").status == 200
    assert client.closed()


def test_a_stream_to_http_1_0_is_not_chunked(either: Running) -> None:
    client = either.client()
    answer = client.ask(b"GET /v2/stream?4 HTTP/1.0\r\n\r\n")
    assert answer.body == b"0,1,2,3,"
    assert "transfer-encoding" not in answer.headers


def test_the_target_in_absolute_form(either: Running) -> None:
    client = either.client()
    for target, path, query in (
        ("http://registry.example:5000/v2/a?x=1", "/v2/a", "x=1"),
        ("https://registry.example", "/", ""),
        ("http://registry.example?x=1", "/", "x=1"),
    ):
        told = json.loads(client.get(target).body)
        assert (told["path"], told["query"]) == (path, query)


def test_half_closing_clients_get_their_answer(server: Running) -> None:
    for target in ("/v2/", "/v2/slow?0.2", "/v2/file/large"):
        client = server.client()
        client.send(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        client.socket.shutdown(1)
        assert client.answer().status == 200
        client.close()


# Limits


@pytest.mark.parametrize("size", [9_000, 100_000, 2_000_000])
def test_long_headers_are_431(client: Client, size: int) -> None:
    client.send(b"GET /v2/ HTTP/1.1\r\nHost: x\r\nX: ")
    refused(client.ask(b"a" * size + b"\r\n\r\n"), 431)
    assert client.closed()


def test_endless_headers_are_431_without_being_kept(client: Client) -> None:
    refused(client.ask(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n" + b"X-Y: a\r\n" * 2000), 431)


def test_many_headers_are_431(client: Client) -> None:
    refused(client.ask(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n" + b"X: a\r\n" * 250 + b"\r\n"), 431)


@pytest.mark.parametrize("size", [17_000, 200_000])
def test_a_long_url_is_414(client: Client, size: int) -> None:
    refused(client.ask(b"GET /v2/" + b"a" * size + b" HTTP/1.1\r\nHost: x\r\n\r\n"), 414)


def test_the_limit_is_for_each_request_and_not_for_bodies(client: Client) -> None:
    for _ in range(3):
        assert client.get("/v2/", "X: " + "a" * 5000).status == 200
        assert client.ask(b"PUT /v2/upload HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" + bytes(100_000)).body == b"100000"


def test_slow_headers_are_408(server: Running) -> None:
    client = server.client(timeout=5)
    client.send(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n")
    begin = time.monotonic()
    for _ in range(8):  # dripping on does not help
        time.sleep(0.1)
        client.send(b"X: a\r\n")
    refused(client.answer(), 408)
    assert 0.7 < time.monotonic() - begin < 3


def test_an_idle_connection_is_closed_after_its_time(server: Running) -> None:
    client = server.client(timeout=5)
    client.get("/v2/")
    begin = time.monotonic()
    assert client.closed()
    assert 0.7 < time.monotonic() - begin < 3


def test_more_connections_than_allowed_are_503(folder: Path) -> None:
    with running(folder, Http(max_connections=5)) as server:
        clients = [server.client() for _ in range(5)]
        for client in clients:
            assert client.get("/v2/").status == 200
        late = server.client()
        answer = late.get("/v2/")
        refused(answer, 503)
        assert answer.headers["retry-after"]
        for client in [*clients, late]:
            client.close()


def test_draining_refuses_new_requests_and_finishes_old_ones(folder: Path) -> None:
    with running(folder) as server:
        old, idle = server.client(), server.client()
        idle.get("/v2/")
        old.send(b"PUT /v2/upload HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\nabc")
        time.sleep(0.1)
        server.loop.call_soon_threadsafe(server.server.state.drain)
        time.sleep(0.1)
        refused(idle.get("/v2/"), 503)
        refused(server.client().get("/v2/"), 503)
        answer = old.ask(b"def")
        assert (answer.body, answer.headers["connection"]) == (b"6", "close")
        assert old.closed()
