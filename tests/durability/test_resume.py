"""Uploads that go on where they stopped: after a restart, after a cut connection, after the worker that had them died."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.durability.clients import CUT, Line, digest_of
from tests.program import Program

MIB = 1 << 20
BLOB = os.urandom(1000) * 5000  # 5 MB, not a multiple of any buffer
UPLOADS = "/v2/resume/app/blobs/uploads/"


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    with Program(tmp_path, workers=2, HTTP_IDLE_TIMEOUT="2") as running:
        yield running


def begin(program: Program) -> str:
    status, headers, _ = Line(program.port).ask("POST", UPLOADS, b"")
    assert status == 202
    return str(headers["Location"])


def offset(program: Program, place: str) -> int:
    """How many bytes the server has, by its own word."""
    status, headers, _ = Line(program.port).ask("GET", place)
    assert status == 204
    last = int(headers["Range"].partition("-")[2])
    return last + 1 if last else 0


def go_on(program: Program, place: str, have: int) -> None:
    """Sends the rest and closes; the blob is then there byte for byte."""
    line = Line(program.port)
    if have < len(BLOB):
        status, headers, body = line.ask("PATCH", place, BLOB[have:], Content_Range=f"{have}-{len(BLOB) - 1}")
        assert status == 202, (status, body)
        place = headers["Location"]
    status, _, body = line.ask("PUT", f"{place}?digest={digest_of(BLOB)}", b"")
    assert status == 201, (status, body)
    status, _, body = line.ask("GET", f"/v2/resume/app/blobs/{digest_of(BLOB)}")
    assert status == 200 and body == BLOB


def cut_patch(program: Program, place: str, sent: int, *, settle: float = 0.1) -> socket.socket:
    """A PATCH that announces all and sends a part; the open connection."""
    line = socket.create_connection(("127.0.0.1", program.port))
    line.sendall(b"PATCH %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (place.encode(), len(BLOB)))
    line.sendall(BLOB[:sent])
    time.sleep(settle)
    return line


def settled(program: Program, place: str, sent: int) -> int:
    """The offset once it stands still; never more than was sent."""
    before, until = -1, time.monotonic() + 10
    while (now := offset(program, place)) != before or not now:
        assert now <= sent and time.monotonic() < until
        before = now
        time.sleep(0.1)
    return now


@pytest.mark.parametrize("sent", [1, 1000, MIB + 7, 4 * MIB])
def test_an_acknowledged_offset_outlives_kill_9(program: Program, sent: int) -> None:
    place = begin(program)
    status, _, _ = Line(program.port).ask("PATCH", place, BLOB[:sent])
    assert status == 202
    program.kill()
    program.start()
    # one byte and none look the same in Range (0-0): the PATCH with its Content-Range tells them apart
    go_on(program, place, sent)


@pytest.mark.parametrize("sent", [100, 300_000, 4 * MIB])
def test_a_cut_patch_keeps_what_came_and_goes_on(program: Program, sent: int) -> None:
    place = begin(program)
    cut_patch(program, place, sent).close()
    go_on(program, place, settled(program, place, sent))


def test_a_patch_that_falls_silent_is_cut_and_goes_on(program: Program) -> None:
    """No FIN, no bytes: the idle timer ends the request, the session stays."""
    place = begin(program)
    line = cut_patch(program, place, 300_000)
    line.settimeout(10)
    assert b" 20" not in line.recv(1000)[:14]
    go_on(program, place, settled(program, place, 300_000))


LEASE = 6.0
"""Seconds that a session stays with an owner who died without a word (content/sessions.py: OWNED)."""


def test_kill_9_in_the_middle_of_a_short_patch_leaves_an_offset_to_go_on_from(program: Program) -> None:
    place = begin(program)
    line = cut_patch(program, place, 1000)
    program.kill()
    line.close()
    program.start()
    have = offset(program, place)
    assert have <= 1000
    go_on(program, place, have)


def test_kill_9_in_the_middle_of_a_long_patch_leaves_an_offset_to_go_on_from_when_its_lease_is_over(program: Program) -> None:
    place = begin(program)
    line = cut_patch(program, place, 3 * MIB)
    program.kill()
    line.close()
    program.start()
    have = offset(program, place)
    assert have <= 3 * MIB
    until = time.monotonic() + LEASE + 10
    while (answer := Line(program.port).ask("PATCH", place, BLOB[have : have + 1], Content_Range=f"{have}-{have}"))[0] == 503:
        assert answer[1]["Retry-After"] and time.monotonic() < until
        time.sleep(0.2)
    assert answer[0] == 202
    go_on(program, place, have + 1)


def test_a_wrong_offset_after_a_restart_writes_nothing(program: Program) -> None:
    place = begin(program)
    Line(program.port).ask("PATCH", place, BLOB[:MIB])
    program.kill()
    program.start()
    for first in (0, MIB - 1, MIB + 1):
        status, headers, _ = Line(program.port).ask("PATCH", place, b"x" * 10, Content_Range=f"{first}-{first + 9}")
        assert (status, headers["Range"]) == (416, f"0-{MIB - 1}")
    go_on(program, place, MIB)


def test_a_worker_that_is_killed_is_replaced_and_its_uploads_go_on(program: Program) -> None:
    place = begin(program)
    assert Line(program.port).ask("PATCH", place, BLOB[:MIB])[0] == 202
    before = program.workers()
    for victim in before:
        os.kill(victim, signal.SIGKILL)
    until = time.monotonic() + 10
    while len(now := set(program.workers()) - set(before)) < len(before) or not program.answers():
        assert time.monotonic() < until, f"workers {before} are gone, {sorted(now)} came"
        time.sleep(0.02)
    assert program.process is not None and program.process.poll() is None, "the supervisor lives on"
    go_on(program, place, offset(program, place))


def test_one_worker_that_is_killed_takes_only_its_own_connections(program: Program) -> None:
    """The first half of a request id is its worker's: the connections of the other one go on, new ones are answered all the time."""
    lines: dict[Line, str] = {}
    while len(set(lines.values())) < 2:
        assert len(lines) < 300, "one worker takes all connections"
        more = [Line(program.port) for _ in range(20)]
        for line in more:
            line.connection.connect()  # all at once, so that they spread
        lines |= {line: line.ask("GET", "/v2/")[1]["X-Request-Id"].partition("-")[0] for line in more}
    os.kill(program.workers()[-1], signal.SIGKILL)
    alive = set()
    for line, worker in lines.items():
        line.connection.auto_open = 0
        with contextlib.suppress(*CUT):
            if line.ask("GET", "/v2/")[0] == 200:
                alive.add((line, worker))
    (survivor,) = {worker for _, worker in alive}
    assert len(alive) == sum(worker == survivor for worker in lines.values())
    assert all(program.answers() for _ in range(20))
