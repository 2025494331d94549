"""Accepting TLS connections ourselves, so that each one gets the certificate of the moment, and plain HTTP gets an answer in words.

    accept --first byte (peeked)--> 0x16: handshake with Certificate.context --> Connection
                                    else: a plain Connection that answers 400 to whatever is asked

Callers: server.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable

from cargohold.http.tls import Certificate
from cargohold.telemetry import log

HANDSHAKE_SECONDS = 15.0
_HELLO = 0x16
_AT_ONCE = 64


class TlsListener:
    def __init__(
        self,
        listener: socket.socket,
        certificate: Certificate,
        encrypted: Callable[[], asyncio.Protocol],
        plain: Callable[[], asyncio.Protocol],
        limit: int,
    ) -> None:
        """`limit`: handshakes at the same time; more wait in the kernel's queue."""
        self._listener, self._certificate, self._encrypted, self._plain = listener, certificate, encrypted, plain
        self._limit = limit
        self._loop = asyncio.get_running_loop()
        self._opening: set[asyncio.Task[None]] = set()
        self._listening = False
        self._closed = False
        self._resume()

    def _resume(self) -> None:
        if not self._listening and not self._closed:
            self._listening = True
            self._loop.add_reader(self._listener.fileno(), self._accept)

    def _pause(self) -> None:
        if self._listening:
            self._listening = False
            self._loop.remove_reader(self._listener.fileno())

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            if len(self._opening) >= self._limit:
                self._pause()
                return
            try:
                accepted, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                log.error("a connection could not be accepted", reason=str(error))
                self._pause()
                self._loop.call_later(1.0, self._resume)
                return
            accepted.setblocking(False)
            task = self._loop.create_task(self._open(accepted))
            self._opening.add(task)
            task.add_done_callback(self._opened)

    def _opened(self, task: asyncio.Task[None]) -> None:
        self._opening.discard(task)
        self._resume()

    async def _open(self, accepted: socket.socket) -> None:
        given_away = False
        try:
            async with asyncio.timeout(HANDSHAKE_SECONDS):
                first = await self._first_byte(accepted)
            if not first:
                return
            given_away = True
            if first[0] == _HELLO:
                await self._loop.connect_accepted_socket(
                    self._encrypted, accepted, ssl=self._certificate.context, ssl_handshake_timeout=HANDSHAKE_SECONDS
                )
            else:
                await self._loop.connect_accepted_socket(self._plain, accepted)
        except (OSError, ssl.SSLError, TimeoutError) as error:
            log.debug("a TLS handshake failed", reason=str(error))
        finally:
            if not given_away:
                accepted.close()

    async def _first_byte(self, accepted: socket.socket) -> bytes:
        readable: asyncio.Future[None] = self._loop.create_future()
        self._loop.add_reader(accepted.fileno(), _wake, readable)
        try:
            await readable
        finally:
            self._loop.remove_reader(accepted.fileno())
        with contextlib.suppress(OSError):
            return accepted.recv(1, socket.MSG_PEEK)
        return b""

    def close(self) -> None:
        """No new connections; those that are being opened go on."""
        self._closed = True
        self._pause()
        self._listener.close()


def _wake(readable: asyncio.Future[None]) -> None:
    if not readable.done():
        readable.set_result(None)
