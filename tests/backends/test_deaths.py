"""kill -9 in the middle of an upload on object storage: each row of the crash matrix, held in the gate at the very request.

    a segment is stored, its row is not       the client goes on at the last row; the segment that no row names goes with the rest
    Create is done, its id is not noted       an empty multipart upload stays for the bucket's lifecycle rule; the next PUT works
    parts are on their way                    the next PUT undoes them and does it again
    Complete is done, the blob has no row     the next PUT does it again
    a body straight to its key                nothing appears; the next PUT, or the sweeper (content/), takes back what was begun
    the blob has its row, segments remain     the client has its blob; the sweeper takes them

A death is a generator: it uploads and dies, and when it goes on, the client comes back. All of them die first, so that the leases
of the dead end at the same time.
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

Death = Iterator[None]
DATA = os.urandom(2 * SEGMENT + 400_000)
UPLOADS = f"/v2/{REPO}/blobs/uploads/"


def layer(number: int) -> bytes:
    return DATA[:-1] + bytes([number])


def in_chunks(data: bytes) -> Iterator[bytes]:
    for begin in range(0, len(data), 1 << 18):
        yield data[begin : begin + (1 << 18)]


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


def is_there(client: httpx.Client, data: bytes) -> None:
    assert Digest.of(client.get(f"/v2/{REPO}/blobs/{Digest.of(data)}").content) == Digest.of(data)


def is_not_there(client: httpx.Client, data: bytes) -> None:
    assert client.head(f"/v2/{REPO}/blobs/{Digest.of(data)}").status_code == 404


def goes_on(client: httpx.Client, location: str, data: bytes) -> None:
    """The client asks where it stands, sends the rest, and finishes."""
    at = stands_at(client, location)
    assert 0 < at < len(data)
    assert patch(client, location, data[at:], at).status_code == 202
    assert finish(client, location, data).status_code == 201
    is_there(client, data)


def in_a_segment(stage: Stage, data: bytes) -> Death:
    """The second one is stored and has no row."""
    with stage.client() as client:
        location = start(client)
    dies(stage, stage.bucket.hold("PUT", f"{SEGMENT:015d}-", done=True), lambda one: patch(one, location, data, 0))
    yield
    with stage.client() as client:
        goes_on(client, location, data)
    yield


def in_a_finish(stage: Stage, data: bytes, method: str, part: str, *, done: bool) -> Death:
    with stage.client() as client:
        location = start(client)
        assert patch(client, location, data, 0).status_code == 202
    dies(stage, stage.bucket.hold(method, part, done=done), lambda one: finish(one, location, data))
    yield
    with stage.client() as client:
        is_not_there(client, data)
        assert finish(client, location, data).status_code == 201
        assert finish(client, location, data).status_code == 201, "a PUT whose answer was lost may be repeated"
        is_there(client, data)
    yield


def in_a_put_with_all(stage: Stage, data: bytes) -> Death:
    with stage.client() as client:
        target = with_query(start(client), digest=Digest.of(data))
    dies(stage, stage.bucket.hold("PUT", "partNumber=2", done=True), lambda one: one.put(target, content=in_chunks(data)))
    yield
    with stage.client() as client:
        is_not_there(client, data)
        assert client.put(target, content=in_chunks(data)).status_code == 201
        is_there(client, data)
    yield


def in_a_post_with_all(stage: Stage, data: bytes) -> Death:
    """Without a session that the client knows: what is left is the sweeper's."""
    ask = {"digest": Digest.of(data)}
    dies(stage, stage.bucket.hold("PUT", "partNumber=2"), lambda one: one.post(UPLOADS, params=ask, content=in_chunks(data)))
    yield
    with stage.client() as client:
        is_not_there(client, data)
    yield


def all_die(stage: Stage, deaths: list[Death]) -> None:
    for _ in range(2):
        for death in deaths:
            next(death)
    until(lambda: not stage.keys("_cargohold/uploads/"), "segments are left behind")


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_server_dies_at_every_row_of_the_matrix(stage: Stage) -> None:
    places = [("POST", "?uploads", True), ("PUT", "partNumber=2", False), ("PUT", "partNumber=2", True)]
    places += [("POST", "?uploadId=", False), ("POST", "?uploadId=", True)]
    finishes = [in_a_finish(stage, layer(number), method, part, done=done) for number, (method, part, done) in enumerate(places)]
    all_die(stage, [in_a_segment(stage, layer(10)), *finishes, in_a_put_with_all(stage, layer(11)), in_a_post_with_all(stage, layer(12))])
    assert len(stage.half_done()) == 2, "the one whose id nobody knew, and the one of the POST"


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_server_dies_on_postgresql(stage: Stage) -> None:
    all_die(stage, [in_a_segment(stage, layer(0)), in_a_finish(stage, layer(1), "PUT", "partNumber=2", done=True)])
    assert stage.half_done() == []


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


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_worker_dies_and_segments_outlive_their_blob(stage: Stage) -> None:
    """First one worker alone, in a piece: the other one takes the upload on. Then all of them, when the blob is there."""
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
        removing = stage.bucket.hold("GET", "uploads%2F")
        goes_on(other, location, DATA)
    removing.wait()
    stage.program.kill()
    removing.let_go()
    stage.program.start()
    with stage.client() as client:
        is_there(client, DATA)
        assert finish(client, location, DATA).status_code == 201
    assert stage.keys("_cargohold/uploads/"), "until the sweeper comes by, ten minutes later"
