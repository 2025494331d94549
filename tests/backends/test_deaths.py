"""kill -9 in the middle of an upload on object storage: each row of the crash matrix, held in the gate at the very request.

a segment is stored, its row is not       the client goes on at the last row; the segment that no row names goes with the rest
Create is done, its id is not noted       an empty multipart upload stays for the bucket's lifecycle rule; the next PUT works
parts are on their way                    the next PUT undoes them and does it again
Complete is done, the blob has no row     the next PUT does it again
a body straight to its key               nothing appears; the sweeper (content/) takes back what was begun
the blob has its row, segments remain     the client has its blob; the sweeper takes them
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

import httpx
import pytest

from cargohold.names import Digest
from cargohold.testing.push import with_query
from tests.backends.gate import Held
from tests.backends.stage import REPO, SEGMENT, Stage, finish, patch, stands_at, start, until

BLOBS = "docker/registry/v2/blobs/"
DATA = os.urandom(2 * SEGMENT + 400_000)


class Asked(threading.Thread):
    """A request that the server does not live to answer."""

    def __init__(self, stage: Stage, ask: Callable[[httpx.Client], httpx.Response]) -> None:
        super().__init__()
        self._stage, self._ask = stage, ask
        self.start()

    def run(self) -> None:
        with suppress(httpx.TransportError), self._stage.client() as client:
            self._ask(client)


def dies(stage: Stage, held: Held, ask: Callable[[httpx.Client], httpx.Response]) -> None:
    """The whole server is killed while `held` holds a request that comes of `ask`, and started again."""
    asked = Asked(stage, ask)
    held.wait()
    stage.program.kill()
    held.let_go()
    asked.join(20)
    stage.program.start()


def layer(number: int) -> bytes:
    return DATA[:-1] + bytes([number])


def uploaded(client: httpx.Client, data: bytes = DATA) -> str:
    """A session that has all of it."""
    location = start(client)
    assert patch(client, location, data, 0).status_code == 202
    return location


def is_there(client: httpx.Client, data: bytes = DATA) -> None:
    assert Digest.of(client.get(f"/v2/{REPO}/blobs/{Digest.of(data)}").content) == Digest.of(data)


def is_whole(stage: Stage, client: httpx.Client) -> None:
    is_there(client)
    until(lambda: not stage.keys("_cargohold/uploads/"), "segments are left behind")


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_segment_without_its_row(stage: Stage) -> None:
    held = stage.bucket.hold("PUT", f"{SEGMENT:015d}-", done=True)
    with stage.client() as client:
        location = start(client)
        dies(stage, held, lambda other: patch(other, location, DATA, 0))
    with stage.client() as client:
        at = stands_at(client, location)
        assert 0 < at < len(DATA)
        assert patch(client, location, DATA[at:], at).status_code == 202
        assert finish(client, location, DATA).status_code == 201
        is_whole(stage, client)


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_worker_that_dies_in_a_piece_leaves_its_rows(stage: Stage) -> None:
    """Only the worker: the other one takes the upload on, while a third is born."""
    held = stage.bucket.hold("PUT", f"{SEGMENT:015d}-")
    with stage.on_both_workers() as (one, other):
        owner = worker_of(one, stage)
        location = start(one)
        asked = threading.Thread(target=lambda: cut(lambda: patch(one, location, DATA, 0)))
        asked.start()
        held.wait()
        os.kill(owner, signal.SIGKILL)
        held.let_go()
        asked.join(20)
        at = stands_at(other, location)
        assert 0 < at < len(DATA)
        assert patch(other, location, DATA[at:], at).status_code == 202
        assert finish(other, location, DATA).status_code == 201
        is_whole(stage, other)


def worker_of(client: httpx.Client, stage: Stage) -> int:
    """The process that answers on this client's connection."""
    stream = client.get("/v2/").extensions["network_stream"]
    here = stream.get_extra_info("client_addr")[1]
    return next(pid for pid in stage.program.workers() if here in peers(pid))


def peers(pid: int) -> set[int]:
    """Ports at the other end of the process's connections."""
    inodes = set()
    for name in os.listdir(f"/proc/{pid}/fd"):
        with suppress(OSError):
            inodes.add(os.readlink(f"/proc/{pid}/fd/{name}").removeprefix("socket:[").removesuffix("]"))
    with open(f"/proc/{pid}/net/tcp") as table:
        rows = [line.split() for line in table.readlines()[1:]]
    return {int(row[2].rpartition(":")[2], 16) for row in rows if row[9] in inodes}


def cut(ask: Callable[[], object]) -> None:
    with suppress(httpx.TransportError):
        ask()


def test_finish_that_dies(stage: Stage) -> None:
    """At five places, each in an upload of its own; then all of them are finished, when the leases of the dead are over."""
    deaths = [("POST", "?uploads", True), ("PUT", "partNumber=2", False), ("PUT", "partNumber=2", True)]
    deaths += [("POST", "?uploadId=", False), ("POST", "?uploadId=", True)]
    if stage.on_postgresql:
        deaths = deaths[2:3]
    uploads = [(layer(number), held) for number, held in enumerate(deaths)]
    with stage.client() as client:
        locations = [uploaded(client, data) for data, _ in uploads]
    for location, (data, (method, part, done)) in zip(locations, uploads, strict=True):
        dies(stage, stage.bucket.hold(method, part, done=done), lambda client: finish(client, location, data))  # noqa: B023  # asked at once
    with stage.client() as client:
        for location, (data, _) in zip(locations, uploads, strict=True):
            assert client.head(f"/v2/{REPO}/blobs/{Digest.of(data)}").status_code == 404
            assert finish(client, location, data).status_code == 201
            assert finish(client, location, data).status_code == 201, "a PUT whose answer was lost may be repeated"
            is_there(client, data)
    until(lambda: not stage.keys("_cargohold/uploads/"), "segments are left behind")
    assert len(stage.half_done()) == (0 if stage.on_postgresql else 1), "only the one whose id nobody knew is left"


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_whole_body_that_dies(stage: Stage) -> None:
    """With a session (PUT) and without one (POST)."""

    def pieces() -> Iterator[bytes]:
        for begin in range(0, len(DATA), 1 << 18):
            yield DATA[begin : begin + (1 << 18)]

    query = {"digest": Digest.of(DATA)}
    with stage.client() as client:
        location = start(client)
    dies(stage, stage.bucket.hold("PUT", "partNumber=2", done=True), lambda one: one.put(with_query(location, **query), content=pieces()))
    target = f"/v2/{REPO}/blobs/uploads/"
    dies(stage, stage.bucket.hold("PUT", "partNumber=2"), lambda one: one.post(target, params=query, content=pieces()))
    assert len(stage.half_done()) == 2
    with stage.client() as client:
        assert client.head(f"/v2/{REPO}/blobs/{Digest.of(DATA)}").status_code == 404
        assert client.put(with_query(location, **query), content=pieces()).status_code == 201
        is_whole(stage, client)
    assert len(stage.half_done()) == 1, "the one of the POST is the sweeper's, after its time"


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_segments_that_outlive_their_blob(stage: Stage) -> None:
    held = stage.bucket.hold("GET", "uploads%2F")
    with stage.client() as client:
        location = uploaded(client)
        assert finish(client, location, DATA).status_code == 201
    held.wait()
    stage.program.kill()
    held.let_go()
    stage.program.start()
    with stage.client() as client:
        is_there(client)
        assert finish(client, location, DATA).status_code == 201
    assert stage.keys("_cargohold/uploads/"), "until the sweeper comes by, ten minutes later"
