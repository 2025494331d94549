"""A proxy before the S3 server that misbehaves on demand: refuses, answers late, loses the answer, cuts a body.

    async with Flaky.before(settings) as flaky:
        flaky.fault("PUT", "/data", Answer(503, "SlowDown"), times=2)
        driver = S3Driver(flaky.settings)

It handles one request on each connection and closes it after. `seen` lists what came: "PUT /blobs/key?query".
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

import msgspec

from cargohold.config.settings import S3


@dataclass
class Answer:
    """Instead of asking the server."""

    status: int
    code: str


@dataclass
class LoseAnswer:
    """The server does it, the client never hears."""


@dataclass
class CutBody:
    """The connection ends after so many bytes of the answer."""

    after: int


@dataclass
class Fault:
    method: str
    part: str
    kind: Answer | LoseAnswer | CutBody
    times: int


class Flaky:
    def __init__(self, settings: S3) -> None:
        upstream = urlsplit(settings.regionendpoint)
        self._host, self._port = upstream.hostname or "", upstream.port or 0
        self._faults: list[Fault] = []
        self.seen: list[str] = []
        self.settings = settings

    @classmethod
    @asynccontextmanager
    async def before(cls, settings: S3) -> AsyncIterator[Flaky]:
        flaky = cls(settings)
        server = await asyncio.start_server(flaky._serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        flaky.settings = msgspec.structs.replace(settings, regionendpoint=f"http://127.0.0.1:{port}")
        try:
            yield flaky
        finally:
            server.close()
            await server.wait_closed()

    def fault(self, method: str, part: str, kind: Answer | LoseAnswer | CutBody, times: int = 1) -> None:
        """The next `times` requests of that method whose target contains `part` meet it."""
        self._faults.append(Fault(method, part, kind, times))

    def count(self, method: str, part: str) -> int:
        return len([line for line in self.seen if line.startswith(method + " ") and part in line])

    def _meet(self, method: str, target: str) -> Answer | LoseAnswer | CutBody | None:
        for fault in self._faults:
            if fault.times and fault.method == method and fault.part in target:
                fault.times -= 1
                return fault.kind
        return None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            await self._one(reader, writer)
        writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        method, target, _ = lines[0].split(" ")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:] if line)}
        self.seen.append(f"{method} {target}")
        if headers.get("expect", "").lower() == "100-continue":
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        kind = self._meet(method, target)
        if isinstance(kind, Answer):
            text = f"<Error><Code>{kind.code}</Code><Message>on demand</Message></Error>" if kind.code and method != "HEAD" else ""
            closing = f"Content-Type: application/xml\r\nContent-Length: {len(text)}\r\nConnection: close\r\n\r\n{text}"
            writer.write(f"HTTP/1.1 {kind.status} Refused\r\n{closing}".encode())
            await writer.drain()
            return
        kept = [line for line in lines[1:] if line and not line.lower().startswith(("connection:", "expect:"))]
        up_reader, up_writer = await asyncio.open_connection(self._host, self._port)
        up_writer.write("\r\n".join([lines[0], *kept, "Connection: close", "", ""]).encode("latin-1") + body)
        left = kind.after if isinstance(kind, CutBody) else None
        while data := await up_reader.read(1 << 16):
            if isinstance(kind, LoseAnswer):
                continue
            writer.write(data if left is None else data[:left])
            await writer.drain()
            if left is not None and (left := left - len(data)) <= 0:
                break
        up_writer.close()
