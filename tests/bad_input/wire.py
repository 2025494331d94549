"""Bytes to a server and whatever comes back, read as strictly as a proxy would.

    speak(port, bytes) --> Heard(statuses, closed, seconds, ...)

A `Heard` that is `sound` kept the promise of this folder: an answer or a close within the bound, each answer well-formed,
no 5xx but 501 and 505 (a transfer coding and a version that we do not speak).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from typing import NamedTuple

BOUND = 8.0
"""Seconds; the servers of these tests are set to cut a slow request after 2."""
QUIET = 0.15
BY_DESIGN = {501, 505}
BODILESS = {204, 304}


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


class Heard(NamedTuple):
    answers: list[Answer]
    closed: bool
    seconds: float
    rest: bytes
    """Bytes that are no answer."""

    @property
    def statuses(self) -> list[int]:
        return [answer.status for answer in self.answers]

    def fault(self) -> str:
        """What is wrong with it, or an empty text."""
        if self.rest:
            return f"not HTTP: {self.rest[:80]!r}"
        if bad := [status for status in self.statuses if status >= 500 and status not in BY_DESIGN]:
            return f"answered {bad}"
        if self.seconds >= BOUND or not (self.answers or self.closed):
            return f"neither an answer nor a close in {self.seconds:.1f} s"
        return ""


def parse(data: bytes, methods: Sequence[str] = ()) -> tuple[list[Answer], bytes]:
    """Whole answers and what is left. `methods` of the requests tell where a HEAD has no body; 1xx answers are passed over."""
    answers: list[Answer] = []
    while data:
        head, end, rest = data.partition(b"\r\n\r\n")
        line, *fields = head.split(b"\r\n")
        if not end or not line.startswith(b"HTTP/1.1 ") or not line[9:12].isdigit():
            break
        status = int(line[9:12])
        headers = {
            name.strip().lower().decode("latin-1"): value.strip().decode("latin-1")
            for name, _, value in (f.partition(b":") for f in fields)
        }
        if status < 200:
            data = rest
            continue
        head_only = len(answers) < len(methods) and methods[len(answers)] == "HEAD"
        body, rest, whole = (b"", rest, True) if head_only or status in BODILESS else body_of(headers, rest)
        if not whole:
            break
        answers.append(Answer(status, headers, body))
        data = rest
    return answers, data


def body_of(headers: dict[str, str], data: bytes) -> tuple[bytes, bytes, bool]:
    """Body, what follows it, and whether it is all there."""
    if headers.get("transfer-encoding") != "chunked":
        size = int(headers.get("content-length", len(data)))
        return data[:size], data[size:], len(data) >= size
    body = b""
    while True:
        line, end, data = data.partition(b"\r\n")
        if not end:
            return body, data, False
        size = int(line.partition(b";")[0], 16)
        if len(data) < size + 2:
            return body, data, False
        body, data = body + data[:size], data[size + 2 :]
        if not size:
            return body, data, True


async def speak(port: int, payload: bytes | Iterable[bytes], *, hang_up: bool = True, methods: Sequence[str] = ()) -> Heard:
    """Sends everything, says that nothing more comes (`hang_up`), and listens until the close, silence after an answer, or the bound."""
    started = time.monotonic()
    data, closed = b"", False
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        try:
            for piece in [payload] if isinstance(payload, bytes) else payload:
                writer.write(piece)
                await asyncio.wait_for(writer.drain(), BOUND)
            if hang_up:
                writer.write_eof()
        except OSError:
            pass  # the server had enough; what it said is still to be read
        while (left := BOUND - (time.monotonic() - started)) > 0 and not closed:
            answered, rest = parse(data, methods)
            patience = QUIET if answered and not rest and not hang_up else left
            try:
                piece = await asyncio.wait_for(reader.read(65536), min(patience, left))
            except TimeoutError:
                break
            except OSError:
                piece = b""
            closed = not piece
            data += piece
        answers, rest = parse(data, methods)
        return Heard(answers, closed, time.monotonic() - started, rest)
    finally:
        writer.close()


async def speak_many(port: int, payloads: Sequence[bytes], *, at_once: int = 32, hang_up: bool = True) -> list[Heard]:
    gate = asyncio.Semaphore(at_once)

    async def one(payload: bytes) -> Heard:
        async with gate:
            return await speak(port, payload, hang_up=hang_up)

    return await asyncio.gather(*(one(payload) for payload in payloads))


def request(method: str, path: str | bytes, body: bytes | None = None, *lines: str | bytes, close: bool = False) -> bytes:
    """A request as a well-behaved client writes it; `lines` are further headers, as they stand."""
    target = path if isinstance(path, bytes) else path.encode()
    head = [method.encode() + b" " + target + b" HTTP/1.1", b"Host: 127.0.0.1"]
    head += [line if isinstance(line, bytes) else line.encode() for line in lines]
    if close:
        head.append(b"Connection: close")
    if body is not None:
        head.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join(head) + b"\r\n\r\n" + (body or b"")
