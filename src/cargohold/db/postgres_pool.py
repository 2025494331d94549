"""A small pool of connections: the last one given back is the next one taken, those who wait are served in order.

    take -> (idle | open a new one | wait for one, at most `wait` seconds: Unavailable) -> use -> give

Invariants
- Never more than `size` connections are open or opening.
- A connection that is not idle when it is given back (a cancelled statement, an open transaction, a lost server) is dropped.
- A connection handed to somebody who was cancelled meanwhile goes on to the next.

Callers: db/postgres.py.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from cargohold.db.postgres_connection import Connection
from cargohold.errors import Unavailable


class Pool:
    def __init__(self, open_one: Callable[[], Awaitable[Connection]], *, size: int, wait: float) -> None:
        self._open_one = open_one
        self._size = size
        self._wait = wait
        self._count = 0
        self._idle: list[Connection] = []
        self._waiting: deque[asyncio.Future[Connection | None]] = deque()
        self._closed = False
        self._empty = asyncio.Event()
        self._empty.set()

    async def take(self) -> Connection:
        if self._closed:
            raise Unavailable("The registry is stopping.")
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                return connection
            self._drop(connection)
        if self._count < self._size:
            self._count += 1
            self._empty.clear()
            return await self._fill()
        return await self._queue()

    async def _fill(self) -> Connection:
        """Open a connection for a place that is counted already."""
        try:
            return await self._open_one()
        except BaseException:
            self._vacate()
            raise

    async def _queue(self) -> Connection:
        turn: asyncio.Future[Connection | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(self._wait):
                connection = await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self._hand_on(turn.result())
            turn.cancel()
            if isinstance(error, TimeoutError):
                raise Unavailable("All connections to the database are taken; try again.", retry_after=1) from error
            raise
        return connection or await self._fill()

    def _hand_on(self, given: Connection | None) -> None:
        if given is None:
            self._vacate()
        else:
            self.give(given)

    def give(self, connection: Connection) -> None:
        if self._closed or not connection.usable:
            self._drop(connection)
        elif (turn := self._next()) is not None:
            turn.set_result(connection)
        else:
            self._idle.append(connection)

    def _drop(self, connection: Connection) -> None:
        connection.abandon()
        self._vacate()

    def _vacate(self) -> None:
        """A place is free: it goes to the first who waits."""
        turn = None if self._closed else self._next()
        if turn is not None:
            turn.set_result(None)
            return
        self._count -= 1
        if not self._count:
            self._empty.set()

    def _next(self) -> asyncio.Future[Connection | None] | None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                return turn
        return None

    def forget(self) -> None:
        """Drop all idle connections: the server was lost, they are dead too."""
        while self._idle:
            self._drop(self._idle.pop())

    async def close(self, patience: float) -> None:
        """Hang up; connections in use get `patience` seconds to come back."""
        self._closed = True
        while (turn := self._next()) is not None:
            turn.set_exception(Unavailable("The registry is stopping."))
        self.forget()
        try:
            async with asyncio.timeout(patience):
                await self._empty.wait()
        except TimeoutError:
            return
