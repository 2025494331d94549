"""One worker's HTTP server inside its event loop: listeners, the connections' clock, draining.

    app = await make_worker_app(Seat(index=0))      the composition root's factory, called after the fork
    server = Server(app, settings.http, sockets)    sockets are bound and listening already
    await server.start()
    await server.drain()                            503 for new requests, wait for running ones, at most http.draintimeout
    await server.stop()                             everything ends

What a worker serves (`WorkerApp`, made by a `MakeWorkerApp`):
    endpoint      the plane: `async def endpoint(call) -> Reply`
    inline        True when reads never need a running task in their first step (SQLite and files); False: a task from the start
    start, stop   open and close what lives as long as the worker (databases, storage, background loops)
    ready         "" when it can serve, else why not, in words, for /readyz

The process around it (signals, the supervisor's pipes): worker.py. How processes are made: supervisor.py.
Callers: worker.py, tests (in one process), cargohold.testing.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

import uvicorn

from cargohold.config.settings import Http
from cargohold.http.asgi import EndpointApp
from cargohold.http.call import Endpoint
from cargohold.http.listen import BACKLOG
from cargohold.http.protocol import Connection
from cargohold.http.state import Answered, WorkerState, ignore
from cargohold.http.tls import Certificate
from cargohold.http.tls_listener import TlsListener


@dataclass(frozen=True)
class Seat:
    """Which of the workers this is; 0 is there exactly once (twice for moments while a reload hands over)."""

    index: int


class WorkerApp(Protocol):
    @property
    def endpoint(self) -> Endpoint: ...
    @property
    def inline(self) -> bool: ...
    async def start(self) -> None: ...
    async def stop(self) -> None: ...
    def ready(self) -> str: ...


MakeWorkerApp = Callable[[Seat], Awaitable[WorkerApp]]


class Server:
    def __init__(
        self,
        app: WorkerApp,
        http: Http,
        sockets: list[socket.socket],
        *,
        certificate: Certificate | None = None,
        observe: Answered = ignore,
        plain_asgi: bool = False,
    ) -> None:
        """`plain_asgi` turns our own way to the endpoint off: every request goes through uvicorn's ASGI cycle."""
        self._app, self._http, self._sockets, self._certificate = app, http, sockets, certificate
        self._observe, self._plain_asgi = observe, plain_asgi
        self._servers: list[asyncio.Server | TlsListener] = []
        self._sweeper: asyncio.Task[None] | None = None
        self.state: WorkerState

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        config = uvicorn.Config(
            EndpointApp(self._app.endpoint, self._http.headers),
            http=Connection,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
        )
        config.load()
        self.state = WorkerState(
            self._http, self._app.endpoint, config, loop, inline=self._app.inline, plain_asgi=self._plain_asgi, observe=self._observe
        )
        for listener in self._sockets:
            self._servers.append(await self._listener(listener, loop))
        self._sweeper = loop.create_task(self._sweep())

    async def _listener(self, listener: socket.socket, loop: asyncio.AbstractEventLoop) -> asyncio.Server | TlsListener:
        state = self.state
        if self._certificate is None:
            return await loop.create_server(lambda: Connection(state, loop), sock=listener, backlog=BACKLOG)
        return TlsListener(
            listener,
            self._certificate,
            lambda: Connection(state, loop),
            lambda: Connection(state, loop, refusal=(400, "This port speaks HTTPS; use https:// in front of its address")),
            self._http.max_connections,
        )

    async def _sweep(self) -> None:
        """Keeps every time limit of every connection; as often as the smallest of them needs, at most once a second."""
        loop = asyncio.get_running_loop()
        http = self._http
        pause = min(1.0, http.header_timeout / 4, http.idle_timeout / 4, http.keepalive / 4)
        while True:
            await asyncio.sleep(pause)
            self.state.now = now = loop.time()
            for connection in list(self.state.connections):
                if isinstance(connection, Connection):
                    connection.sweep(now)

    async def drain(self) -> bool:
        """New requests are answered 503; True when all that were running ended within `http.draintimeout`."""
        self.state.drain()
        return await self._quiet()

    async def retire(self) -> bool:
        """No new connections (another worker takes them); those that are open are served and closed one after the other."""
        for server in self._servers:
            server.close()
        self.state.retire()
        return await self._quiet(until_closed=True)

    async def _quiet(self, *, until_closed: bool = False) -> bool:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._http.draintimeout
        while self.state.connections if until_closed else self.state.running():
            if loop.time() > deadline:
                return False
            await asyncio.sleep(0.05)
        return True

    async def stop(self) -> None:
        """Ends every connection and task, whatever they do."""
        for server in self._servers:
            server.close()
        if self._sweeper is not None:
            self._sweeper.cancel()
        for connection in list(self.state.connections):
            connection.shutdown()
        running = list(self.state.tasks)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
