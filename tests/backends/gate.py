"""A gate between the registry and a server that it needs: it can be shut, and a request can be held in it.

    with Gate(("127.0.0.1", 8333)) as gate:            # or the path of a socket; `plain=True` for what is no HTTP
        gate.shut()                                    # all connections end, new ones are refused: the server is stopped
        held = gate.hold("PUT", "partNumber", done=True)
        held.wait()                                    # such a request came; with `done` the server has done it, and nobody heard
        held.let_go()                                  # it goes on, or its answer does

It has a thread of its own, answers one HTTP request on each connection, and stays on its port when it is shut.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

Target = tuple[str, int] | str
PATIENCE = 20.0


class Held:
    """A trap for one request, then that request."""

    def __init__(self, loop: asyncio.AbstractEventLoop, seen: list[str], method: str, part: str, *, done: bool) -> None:
        self.method, self.part, self.done, self._seen = method, part, done, seen
        self._loop, self._reached, self._free = loop, threading.Event(), asyncio.Event()

    def fits(self, method: str, target: str) -> bool:
        return not self._reached.is_set() and method == self.method and self.part in target

    async def stay(self) -> None:
        self._reached.set()
        await self._free.wait()

    def wait(self) -> None:
        assert self._reached.wait(PATIENCE), f"no {self.method} of {self.part} came: {self._seen[-8:]}"

    def let_go(self) -> None:
        self._loop.call_soon_threadsafe(self._free.set)


class Gate:
    def __init__(self, target: Target, *, plain: bool = False) -> None:
        self._target, self._plain = target, plain
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._server: asyncio.Server | None = None
        self._running: set[asyncio.Task[None]] = set()
        self._traps: list[Held] = []
        self.port = 0
        self.seen: list[str] = []
        """What came, as "PUT /bucket/key?query"."""

    def __enter__(self) -> Self:
        self._thread.start()
        self.open()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.shut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE)
        self._loop.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def open(self) -> None:
        self._do(self._open())

    def shut(self) -> None:
        self._do(self._shut())

    def hold(self, method: str, part: str, *, done: bool = False) -> Held:
        held = Held(self._loop, self.seen, method, part, done=done)
        self._traps.append(held)
        return held

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE)

    async def _open(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port, limit=1 << 20)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _shut(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        tasks = list(self._running)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._running.add(task)
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                await (self._tunnel(reader, writer) if self._plain else self._request(reader, writer))
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            writer.close()
            self._running.discard(task)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self._target, str):
            return await asyncio.open_unix_connection(self._target)
        return await asyncio.open_connection(*self._target)

    async def _tunnel(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await self._connect()
        try:
            await asyncio.gather(_copy(reader, up_writer), _copy(up_reader, writer))
        finally:
            up_writer.transport.abort()

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        method, target, _ = lines[0].split(" ")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:] if line)}
        if headers.get("expect", "").lower() == "100-continue":
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        self.seen.append(f"{method} {target}")
        trap = next((trap for trap in self._traps if trap.fits(method, target)), None)
        if trap is not None and not trap.done:
            await trap.stay()
        kept = [line for line in lines[1:] if line and not line.lower().startswith(("connection:", "expect:"))]
        up_reader, up_writer = await self._connect()
        try:
            up_writer.write("\r\n".join([lines[0], *kept, "Connection: close", "", ""]).encode("latin-1") + body)
            if trap is not None and trap.done:
                answer = await up_reader.read()
                await trap.stay()
                writer.write(answer)
            await _copy(up_reader, writer)
        finally:
            up_writer.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 18):
        writer.write(data)
        await writer.drain()
    with suppress(OSError):
        writer.write_eof()
