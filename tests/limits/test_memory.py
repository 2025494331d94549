"""A large layer up and down costs no more memory than a small one: the workers' resident memory grows by less than 64 MB.

512 MiB in `make test`, 4 GiB in `make soak`. The bytes are made on the way and hashed on the way back; nothing holds them.
"""

from __future__ import annotations

import hashlib
import http.client
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.program import Program

MIB = 1 << 20
GROWTH = 64 * MIB
PIECE = random.Random(7).randbytes(MIB)
UPLOADS = "/v2/large/layer/blobs/uploads/"


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    with Program(tmp_path, workers=1, STORAGE_SYNC="data") as running:
        yield running


class Gauge(threading.Thread):
    """The highest resident memory of any worker while it is open."""

    def __init__(self, program: Program) -> None:
        super().__init__(daemon=True)
        self.program, self.highest, self.done = program, 0, threading.Event()

    def run(self) -> None:
        while not self.done.wait(0.05):
            self.highest = max(self.highest, self.program.memory())

    def __enter__(self) -> Gauge:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.done.set()
        self.join()


def pieces(size: int) -> Iterator[bytes]:
    for number in range(size // MIB):
        yield number.to_bytes(8, "big") + PIECE[8:]


def digest_of(size: int) -> str:
    found = hashlib.sha256()
    for piece in pieces(size):
        found.update(piece)
    return "sha256:" + found.hexdigest()


def ask(port: int, method: str, path: str, body: Iterator[bytes] | bytes | None = None, **headers: str) -> http.client.HTTPResponse:
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    line.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    return line.getresponse()


def push(port: int, size: int, way: str) -> str:
    """PATCH in chunks and PUT (docker), PUT with a length (containerd), or one POST; the digest."""
    digest = digest_of(size)
    if way == "post":
        assert ask(port, "POST", f"{UPLOADS}?digest={digest}", pieces(size), Content_Length=str(size)).status == 201
        return digest
    place = ask(port, "POST", UPLOADS, b"").headers["Location"]
    if way == "put":
        assert ask(port, "PUT", f"{place}?digest={digest}", pieces(size), Content_Length=str(size)).status == 201
        return digest
    reply = ask(port, "PATCH", place, pieces(size))
    assert reply.status == 202 and reply.headers["Range"] == f"0-{size - 1}"
    assert ask(port, "PUT", f"{reply.headers['Location']}?digest={digest}", b"").status == 201
    return digest


def pull(port: int, digest: str) -> None:
    reply, found = ask(port, "GET", f"/v2/large/layer/blobs/{digest}"), hashlib.sha256()
    assert reply.status == 200
    while piece := reply.read(MIB):
        found.update(piece)
    assert "sha256:" + found.hexdigest() == digest


def costs_no_memory(program: Program, size: int, way: str) -> None:
    pull(program.port, push(program.port, 4 * MIB, way))  # what is loaded at first use is not the layer's cost
    before = program.memory()
    with Gauge(program) as gauge:
        pull(program.port, push(program.port, size, way))
    assert gauge.highest - before < GROWTH, f"{before // MIB} MiB before, {gauge.highest // MIB} MiB at most"


@pytest.mark.parametrize("way", ["patch", "put", "post"])
def test_a_large_layer_costs_no_memory(program: Program, way: str) -> None:
    costs_no_memory(program, 512 * MIB if way == "patch" else 192 * MIB, way)


@pytest.mark.soak
@pytest.mark.parametrize("way", ["patch", "put", "post"])
def test_a_layer_of_four_gigabytes_costs_no_memory(program: Program, way: str) -> None:
    costs_no_memory(program, 4096 * MIB, way)


def test_slow_readers_of_a_large_layer_cost_no_memory(program: Program) -> None:
    """Fifty clients ask for 64 MiB and read nothing: the bytes stay in the file, not in the server."""
    digest = push(program.port, 64 * MIB, "post")
    before = program.memory()
    with Gauge(program) as gauge:
        waiting = [ask(program.port, "GET", f"/v2/large/layer/blobs/{digest}") for _ in range(50)]
        time.sleep(1)
    assert all(reply.status == 200 for reply in waiting)
    assert gauge.highest - before < GROWTH, f"{(gauge.highest - before) // MIB} MiB more"
    pull(program.port, digest)


def test_many_uploads_at_once_cost_a_bounded_memory(program: Program) -> None:
    """Sixteen layers of 16 MiB at the same time: each holds a segment or two, none of them its layer."""
    before = program.memory()
    faults: list[str] = []

    def one() -> None:
        try:
            push(program.port, 16 * MIB, "patch")
        except AssertionError as error:
            faults.append(str(error))

    with Gauge(program) as gauge:
        clients = [threading.Thread(target=one) for _ in range(16)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
    assert not faults
    assert gauge.highest - before < 3 * GROWTH, f"{(gauge.highest - before) // MIB} MiB more"
