"""Many and slow clients do not stop the others: 2,000 open uploads, readers and writers that crawl, connections that say nothing."""

from __future__ import annotations

import hashlib
import http.client
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.program import Program

PATIENCE = 5.0
"""Seconds in which somebody else's small request is answered, whatever the others do (on a busy machine)."""
BLOB = bytes(range(256)) * 65536  # 16 MiB
DIGEST = "sha256:" + hashlib.sha256(BLOB).hexdigest()
UPLOADS = "/v2/many/app/blobs/uploads/"


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))  # for our own side of 2,000 connections
    with Program(tmp_path, workers=1) as running:
        yield running
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def ask(program: Program, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
    line = http.client.HTTPConnection("127.0.0.1", program.port, timeout=20)
    line.request(method, path, body)
    reply = line.getresponse()
    return reply.status, reply.read()


def others_are_served(program: Program) -> None:
    """A ping, a push and a pull by somebody else, each within PATIENCE."""
    small = b"somebody else's"
    digest = "sha256:" + hashlib.sha256(small).hexdigest()
    for method, path, body, status in (
        ("GET", "/v2/", None, 200),
        ("POST", f"/v2/other/app/blobs/uploads/?digest={digest}", small, 201),
        ("GET", f"/v2/other/app/blobs/{digest}", None, 200),
    ):
        started = time.monotonic()
        assert ask(program, method, path, body)[0] == status
        assert time.monotonic() - started < PATIENCE, f"{method} {path} took {time.monotonic() - started:.1f} s"


def connect(program: Program, stack: ExitStack, payload: bytes) -> socket.socket:
    line = stack.enter_context(socket.create_connection(("127.0.0.1", program.port)))
    line.sendall(payload)
    return line


def test_two_thousand_open_uploads_do_not_stop_the_others(program: Program) -> None:
    """Each has sent the head of a PATCH and a few bytes, and then nothing."""
    before = program.memory()
    line = http.client.HTTPConnection("127.0.0.1", program.port)
    with ExitStack() as stack:
        for _ in range(2000):
            line.request("POST", UPLOADS, b"")
            reply = line.getresponse()
            reply.read()
            place = reply.headers["Location"].encode()
            connect(program, stack, b"PATCH %s HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nhello" % place)
        others_are_served(program)
        assert program.memory() - before < 128 << 20, "64 KiB for each is plenty"
    others_are_served(program)


def test_readers_that_read_nothing_do_not_stop_the_others(program: Program) -> None:
    assert ask(program, "POST", f"{UPLOADS}?digest={DIGEST}", BLOB)[0] == 201
    with ExitStack() as stack:
        for _ in range(300):
            connect(program, stack, f"GET /v2/many/app/blobs/{DIGEST} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        others_are_served(program)
        assert ask(program, "GET", f"/v2/many/app/blobs/{DIGEST}") == (200, BLOB)


def test_writers_that_crawl_do_not_stop_the_others(program: Program) -> None:
    with ExitStack() as stack:
        head = f"POST {UPLOADS}?digest={DIGEST} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(BLOB)}\r\n\r\n".encode()
        lines = [connect(program, stack, head) for _ in range(300)]
        for _ in range(3):
            for line in lines:
                line.sendall(b"x" * 100)
            others_are_served(program)


def test_connections_that_say_nothing_do_not_stop_the_others(program: Program) -> None:
    with ExitStack() as stack:
        for number in range(2000):
            connect(program, stack, b"" if number % 2 else b"GET /v2/ HTTP/1.1\r\nHo")
        others_are_served(program)


def test_a_reader_that_crawls_gets_everything(program: Program) -> None:
    assert ask(program, "POST", f"{UPLOADS}?digest={DIGEST}", BLOB)[0] == 201
    with ExitStack() as stack:
        line = connect(program, stack, f"GET /v2/many/app/blobs/{DIGEST} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        line.settimeout(20)
        data, pauses = b"", 0
        while piece := line.recv(1 << 16):
            data += piece
            if pauses < 20:
                time.sleep(0.02)
                pauses += 1
    assert data.partition(b"\r\n\r\n")[2] == BLOB


def test_connections_over_the_limit_are_told_so(tmp_path: Path) -> None:
    with Program(tmp_path, workers=1, HTTP_MAX_CONNECTIONS="20") as program:
        with ExitStack() as stack:
            for _ in range(20):
                line = connect(program, stack, b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n")
                assert line.recv(1000).startswith(b"HTTP/1.1 200")
            line = connect(program, stack, b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n")
            line.settimeout(10)
            assert line.recv(1000).startswith(b"HTTP/1.1 503")
        until = time.monotonic() + 10
        while not program.answers():
            assert time.monotonic() < until
            time.sleep(0.05)
