"""Bodies on the way out: the right bytes, bounded memory however slow the reader, and no half answer that looks whole."""

from __future__ import annotations

import hashlib
import os
import resource
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cargohold.config.settings import Http

from .serving import Client, Running, running

SIZE = 100 << 20


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    block = os.urandom(1 << 20)
    with open(folder / "large", "wb") as file:
        for number in range(SIZE >> 20):
            file.write(number.to_bytes(4, "big") + block[4:])
    (folder / "small").write_bytes(block[: 64 * 1024])
    return folder


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Running]:
    with running(folder, Http(idle_timeout=2.0)) as server:
        yield server


def rss() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def digest_of(client: Client, target: str) -> tuple[str, int]:
    """Reads an answer in small pieces; sha256 and size of its body."""
    client.send(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    while b"\r\n\r\n" not in client.buffer:
        client._more()
    head, _, rest = client.buffer.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].split()[0])
    digest, have = hashlib.sha256(rest), len(rest)
    while have < length:
        data = client.socket.recv(min(1 << 20, length - have))
        if not data:
            break
        digest.update(data)
        have += len(data)
    client.buffer = b""
    return digest.hexdigest(), have


@pytest.mark.parametrize("target", ["large", "large?1-1048577", "large?99999999-104857599", "small", "small?0-0", "small?100-65535"])
def test_the_bytes_are_those_of_the_file(server: Running, folder: Path, target: str) -> None:
    name, _, part = target.partition("?")
    data = (folder / name).read_bytes()
    if part:
        first, last = map(int, part.split("-"))
        data = data[first : last + 1]
    client = server.client()
    for _ in range(2):
        assert digest_of(client, f"/v2/file/{target}") == (hashlib.sha256(data).hexdigest(), len(data))


def test_a_small_answer_stands_behind_a_large_one(server: Running, folder: Path) -> None:
    client = server.client()
    client.send(b"GET /v2/file/large HTTP/1.1\r\nHost: x\r\n\r\nGET /v2/behind HTTP/1.1\r\nHost: x\r\n\r\n")
    time.sleep(0.2)
    assert hashlib.sha256(client.answer().body).hexdigest() == hashlib.sha256((folder / "large").read_bytes()).hexdigest()
    assert b"/v2/behind" in client.answer().body


@pytest.mark.parametrize("target", ["/v2/file/large", "/v2/flood"])
def test_stalled_readers_cost_no_memory_and_are_cut(server: Running, target: str) -> None:
    before, files = rss(), descriptors()
    clients = [server.client() for _ in range(20)]
    for client in clients:
        client.send(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    time.sleep(0.5)
    assert rss() - before < 48 << 20
    assert server.client().get("/v2/").status == 200  # the others do not wait
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and server.server.state.running():
        time.sleep(0.1)
    assert server.server.state.running() == 0
    for client in clients:
        client.close()
    time.sleep(0.2)
    assert descriptors() <= files + 2


def test_a_slow_reader_that_moves_is_not_cut(server: Running) -> None:
    client = server.client()
    client.send(b"GET /v2/file/large HTTP/1.1\r\nHost: x\r\n\r\n")
    begin, have = time.monotonic(), 0
    while time.monotonic() - begin < 5:  # slower than the kernel's buffer tells anybody by itself
        have += len(client.socket.recv(20_000))
        time.sleep(0.1)
    assert server.server.state.running() == 1
    while have < 30_000_000:
        data = client.socket.recv(1 << 20)
        assert data, f"cut after {have} bytes"
        have += len(data)
    client.close()


def test_readers_that_leave_leave_nothing_behind(server: Running) -> None:
    files = descriptors()
    for _ in range(10):
        client = server.client()
        client.send(b"GET /v2/file/large HTTP/1.1\r\nHost: x\r\n\r\n")
        client.socket.recv(1000)
        client.close()
    deadline = time.monotonic() + 5
    while descriptors() > files + 1 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert descriptors() <= files + 1


@pytest.mark.parametrize("target", ["/v2/cut", "/v2/short/large"])
def test_an_answer_that_cannot_be_completed_ends_the_connection(server: Running, target: str) -> None:
    client = server.client(timeout=20)
    with pytest.raises((EOFError, ConnectionResetError)):
        client.get(target)


def test_a_small_file_that_is_too_short_is_500(server: Running) -> None:
    (server.app.folder / "tiny").write_bytes(b"abc")
    answer = server.client().get("/v2/short/tiny")
    assert (answer.status, b"UNKNOWN" in answer.body) == (500, True)


def test_what_is_observed_is_what_was_sent(server: Running) -> None:
    server.observed.clear()
    client = server.client()
    client.get("/v2/file/large?0-199999")
    client.get("/v2/file/small", method="HEAD")
    client.ask(b"PUT /v2/upload HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc")
    facts = [(call.method, call.route, status, received, sent) for call, status, received, sent, _ in server.observed]
    assert facts == [("GET", "large", 200, 0, 200_000), ("HEAD", "small", 200, 0, 0), ("PUT", "upload", 201, 3, 1)]
    assert all(0 <= seconds < 5 for *_, seconds in server.observed)
