"""A small endpoint that has one of everything, and the script that serves it through the supervisor.

python -m tests.http.fake SETTINGS.json        Settings as JSON, read again on SIGHUP; the key `fail` makes workers fail to start
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec

from cargohold.config.settings import Settings
from cargohold.errors import Denied, Unavailable
from cargohold.http.call import Call, ClientGone
from cargohold.http.listen import StartRefused
from cargohold.http.replies import FileSlice, Reply, Stream
from cargohold.http.server import Seat
from cargohold.http.supervisor import Plan, serve
from cargohold.telemetry import log, set_up

JSON = [(b"Content-Type", b"application/json")]


class FakeApp:
    """Answers by path; see `endpoint`."""

    def __init__(self, folder: Path, *, inline: bool = True, name: str = "fake") -> None:
        self.inline, self.folder, self.name = inline, folder, name
        self.trouble = ""
        self.seen: list[str] = []
        self.pieces: list[int] = []
        self.gone = 0

    async def start(self) -> None:
        await asyncio.sleep(0)

    async def stop(self) -> None:
        await asyncio.sleep(0)

    def ready(self) -> str:
        return self.trouble

    async def endpoint(self, call: Call) -> Reply:
        self.seen.append(call.path)
        call.route = call.path.rsplit("/", 1)[-1][:20]
        handler = getattr(self, "on_" + call.path.removeprefix("/v2/").partition("/")[0], None)
        if handler is None:
            return Reply(200, JSON, msgspec.json.encode({"path": call.path, "query": call.query, "id": call.id, "name": self.name}))
        reply: Reply = await handler(call)
        return reply

    async def on_file(self, call: Call) -> Reply:
        path = self.folder / call.path.rpartition("/")[2]
        fd = os.open(path, os.O_RDONLY)
        size = path.stat().st_size
        start, _, end = call.query.partition("-")
        first, last = int(start or 0), int(end or size - 1)
        return Reply(200, [], FileSlice(fd, first, last - first + 1))

    async def on_short(self, call: Call) -> Reply:
        """Announces more than the file holds."""
        reply = await self.on_file(call)
        assert isinstance(reply.content, FileSlice)
        reply.content.length += 10
        return Reply(200, [], reply.content)

    async def on_slow(self, call: Call) -> Reply:
        await asyncio.sleep(float(call.query or 0.3))
        return Reply(200, [], b"slow")

    async def on_turns(self, call: Call) -> Reply:
        """Suspends twice, with an error caught in between, inside a timeout of its own."""
        await asyncio.sleep(0)
        try:
            async with asyncio.timeout(0.01):
                await asyncio.sleep(5)
        except TimeoutError:
            return Reply(200, [], b"turned")
        return Reply(500, [])

    async def on_stream(self, call: Call) -> Reply:
        count = int(call.query or 3)

        async def chunks() -> AsyncIterator[bytes]:
            for number in range(count):
                await asyncio.sleep(0)
                yield b"%d," % number

        async def begin() -> AsyncIterator[bytes]:
            return chunks()

        return Reply(200, [], Stream(None, begin))

    async def on_flood(self, call: Call) -> Reply:
        """Half a GiB made on the fly."""

        async def chunks() -> AsyncIterator[bytes]:
            for _ in range(512):
                yield bytes(1 << 20)

        async def begin() -> AsyncIterator[bytes]:
            return chunks()

        return Reply(200, [], Stream(512 << 20, begin))

    async def on_cut(self, call: Call) -> Reply:
        async def chunks() -> AsyncIterator[bytes]:
            yield b"begun"
            raise OSError("the disk is gone")

        async def begin() -> AsyncIterator[bytes]:
            return chunks()

        return Reply(200, [], Stream(100, begin))

    async def on_unopened(self, call: Call) -> Reply:
        async def begin() -> AsyncIterator[bytes]:
            raise Unavailable("the storage does not answer")

        return Reply(200, [], Stream(100, begin))

    async def on_upload(self, call: Call) -> Reply:
        digest, size = hashlib.sha256(), 0
        if call.body is not None:
            async for piece in call.body.chunks():
                digest.update(piece)
                size += len(piece)
                self.pieces.append(len(piece))
                await asyncio.sleep(0)
        return Reply(201, [(b"Docker-Content-Digest", f"sha256:{digest.hexdigest()}".encode())], b"%d" % size)

    async def on_sip(self, call: Call) -> Reply:
        """Reads one piece, then waits, then reads on."""
        assert call.body is not None
        size = 0
        async for piece in call.body.chunks():
            size += len(piece)
            await asyncio.sleep(0.5)
        return Reply(201, [], b"%d" % size)

    async def on_leaving(self, call: Call) -> Reply:
        """Counts the clients that left."""
        assert call.body is not None
        try:
            async for _ in call.body.chunks():
                pass
        except ClientGone:
            self.gone += 1
            raise
        return Reply(201, [])

    async def on_refuse(self, call: Call) -> Reply:
        """Answers without reading the body."""
        return Reply(401, [(b"WWW-Authenticate", b'Basic realm="x"')], b"no")

    async def on_denied(self, call: Call) -> Reply:
        raise Denied("not you")

    async def on_bug(self, call: Call) -> Reply:
        raise RuntimeError("a bug with password=hunter2 in it")

    async def on_split(self, call: Call) -> Reply:
        return Reply(200, [(b"X-Split", b"a\r\nSet-Cookie: b")], b"")

    async def on_empty(self, call: Call) -> Reply:
        return Reply(204, [])

    async def on_notmodified(self, call: Call) -> Reply:
        return Reply(304, [(b"ETag", b'"x"')])

    async def on_length(self, call: Call) -> Reply:
        return Reply(200, [], b"", length=12345) if call.method == "HEAD" else Reply(200, [], b"12345")

    async def on_die(self, call: Call) -> Reply:
        os._exit(9)

    async def on_pid(self, call: Call) -> Reply:
        return Reply(200, [], b"%d %s" % (os.getpid(), self.name.encode()))

    async def on_log(self, call: Call) -> Reply:
        log.warning("asked to log", header=call.header(b"authorization"), query=call.query)
        return Reply(200, [])

    async def on_trouble(self, call: Call) -> Reply:
        self.trouble = call.query
        return Reply(200, [])


class _File(Settings, frozen=True, kw_only=True):
    name: str = "fake"
    fail: str = ""
    inline: bool = True


def load() -> Plan:
    settings = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=_File)
    set_up(settings.log.level, settings.log.formatter, settings.log.fields)

    async def make(seat: Seat) -> FakeApp:
        if settings.fail:
            raise StartRefused(settings.fail)
        return FakeApp(Path(sys.argv[1]).parent, inline=settings.inline, name=settings.name)

    return Plan(settings, make)


if __name__ == "__main__":
    try:
        sys.exit(serve(load))
    except StartRefused as refused:
        sys.stderr.write(f"{refused}\n")
        sys.exit(2)
