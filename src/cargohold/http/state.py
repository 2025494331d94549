"""What the connections of one worker share: the endpoint, the limits, the clock, the counters, and whether the worker is going away.

    serving --drain()--> draining: every new request is answered 503 and closed   (the registry stops)
            --retire()-> retiring: requests are still answered, then closed       (a newer worker has taken over)

Callers: server.py makes it after the fork, protocol.py and asgi.py read it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import uvicorn
from uvicorn.server import ServerState

from cargohold.config.settings import Http
from cargohold.http.call import Call, Endpoint
from cargohold.http.writing import Common, RequestIds

RETIRED_KEEPALIVE = 2.0
"""Seconds that an idle connection of a retiring worker still has, so that a request on its way is not met by a closed socket."""

Answered = Callable[[Call, int, int, int, float], None]


def ignore(call: Call, status: int, received: int, sent: int, seconds: float) -> None:
    """Nobody counts."""


class WorkerState(ServerState):
    def __init__(
        self,
        http: Http,
        endpoint: Endpoint,
        config: uvicorn.Config,
        loop: asyncio.AbstractEventLoop,
        *,
        inline: bool = True,
        plain_asgi: bool = False,
        claimed: str | None = None,
        observe: Answered = ignore,
    ) -> None:
        """`claimed`: prefix of the paths that are the endpoint's when the ASGI app serves others too; None: all are.
        `plain_asgi`: no path of our own at all, everything through the ASGI app."""
        super().__init__()
        self.http, self.endpoint, self.config = http, endpoint, config
        self.inline, self.plain_asgi = inline, plain_asgi
        self._claimed, self._observe = claimed, observe
        self.common, self.ids = Common(http.headers), RequestIds()
        self.now = loop.time()
        self.draining = self.retiring = self.closing = False

    def claims(self, path: str) -> bool:
        return self._claimed is None or path.startswith(self._claimed) or path == "/" or path == self._claimed[:-1]

    def answered(self, call: Call, status: int, received: int, sent: int, started: float) -> None:
        self._observe(call, status, received, sent, time.perf_counter() - started)

    def refused(self, status: int, id: str, client: str, message: str) -> None:
        """The server itself answered: there was no call."""
        call = Call("", "", "", [], client=client, scheme="", id=id)
        call.route = "refused"
        self._observe(call, status, 0, 0, 0.0)

    def drain(self) -> None:
        self.draining = self.closing = True

    def retire(self) -> None:
        self.retiring = self.closing = True

    def keepalive(self) -> float:
        return min(RETIRED_KEEPALIVE, self.http.keepalive) if self.closing else self.http.keepalive

    def running(self) -> int:
        """Connections that have a request being answered."""
        return sum(not connection.idle() for connection in self.connections if hasattr(connection, "idle"))
