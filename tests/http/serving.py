"""A server in a thread with its own uvloop, and a client of bare sockets: tests see bytes, not what a library makes of them."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import NamedTuple

import uvloop

from cargohold.config.settings import Http
from cargohold.http.call import Call
from cargohold.http.server import Server
from cargohold.http.tls import Certificate

from .fake import FakeApp


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes
    head: bytes


class Client:
    """One connection. `ask` sends bytes and reads one answer."""

    def __init__(self, port: int, *, context: ssl.SSLContext | None = None, timeout: float = 10.0) -> None:
        self.socket: socket.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        if context is not None:
            self.socket = context.wrap_socket(self.socket, server_hostname="localhost")
        self.buffer = b""

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def ask(self, data: bytes, *, head_only: bool = False) -> Answer:
        self.send(data)
        return self.answer(head_only=head_only)

    def get(self, path: str, *more: str, method: str = "GET") -> Answer:
        lines = [f"{method} {path} HTTP/1.1", "Host: x", *more, "", ""]
        return self.ask("\r\n".join(lines).encode(), head_only=method == "HEAD")

    def answer(self, *, head_only: bool = False) -> Answer:
        while b"\r\n\r\n" not in self.buffer:
            self._more()
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        status = int(lines[0].split()[1])
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        if head_only or status in (100, 204, 304):
            return Answer(status, headers, b"", head)
        if headers.get("transfer-encoding") == "chunked":
            return Answer(status, headers, self._chunked(), head)
        if "content-length" in headers:
            return Answer(status, headers, self._exactly(int(headers["content-length"])), head)
        with contextlib.suppress(EOFError):
            while True:
                self._more()
        body, self.buffer = self.buffer, b""
        return Answer(status, headers, body, head)

    def _chunked(self) -> bytes:
        body = b""
        while True:
            while b"\r\n" not in self.buffer:
                self._more()
            size, _, self.buffer = self.buffer.partition(b"\r\n")
            body += self._exactly(int(size, 16))
            assert self._exactly(2) == b"\r\n"
            if int(size, 16) == 0:
                return body

    def _exactly(self, size: int) -> bytes:
        parts, have = [self.buffer], len(self.buffer)
        while have < size:
            data = self.socket.recv(1 << 20)
            if not data:
                raise EOFError(f"{have} of {size} bytes came")
            parts.append(data)
            have += len(data)
        whole = b"".join(parts)
        self.buffer = whole[size:]
        return whole[:size]

    def _more(self) -> None:
        data = self.socket.recv(65536)
        if not data:
            raise EOFError(f"closed after {self.buffer!r}")
        self.buffer += data

    def closed(self) -> bool:
        """Waits for the server's end of the connection; whatever comes before it is dropped."""
        try:
            while self.socket.recv(65536):
                pass
        except ConnectionResetError:
            return True
        except TimeoutError:
            return False
        return True

    def close(self) -> None:
        self.socket.close()


class Running:
    def __init__(self, app: FakeApp, http: Http, *, plain_asgi: bool = False) -> None:
        self.app, self.http = app, http
        self.observed: list[tuple[Call, int, int, int, float]] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]
        self._plain_asgi = plain_asgi
        self._up: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._up.result(10)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        try:
            self.loop = asyncio.get_running_loop()
            self._end = asyncio.Event()
            self.certificate = Certificate(self.http.tls) if self.http.tls.certificate else None
            self.server = Server(
                self.app,
                self.http,
                [self._listener],
                certificate=self.certificate,
                observe=lambda *facts: self.observed.append(facts),
                plain_asgi=self._plain_asgi,
            )
            await self.server.start()
        except BaseException as error:
            self._up.set_exception(error)
            raise
        self._up.set_result(None)
        await self._end.wait()
        await self.server.stop()

    def client(self, *, timeout: float = 10.0) -> Client:
        return Client(self.port, timeout=timeout)

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self._end.set)
        self._thread.join(10)
        assert not self._thread.is_alive()


@contextlib.contextmanager
def running(folder: Path, http: Http | None = None, *, inline: bool = True, plain_asgi: bool = False) -> Iterator[Running]:
    server = Running(FakeApp(folder, inline=inline), http or Http(), plain_asgi=plain_asgi)
    try:
        yield server
    finally:
        server.stop()
