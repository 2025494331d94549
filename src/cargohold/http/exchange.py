"""One request that the endpoint answers outside the fast path: its body on the way in, its reply on the way out.

    queued --start--> running --reply--> sending --> complete
                         `-- client gone, or a body that breaks HTTP --> the connection ends

An exchange takes the place of uvicorn's request cycle: the parser callbacks that are inherited see its `body`, `more_body`,
`message_event`, `response_complete` and `disconnected`.

Invariants
- At most 64 KiB plus one read of the body wait in memory; the socket is not read while more wait.
- `Expect: 100-continue` is answered when the handler asks for the first piece, never before.
- Replies go out in the order of the requests: an exchange starts only when the one before it is complete.
- Whatever happens, the reply is closed and the connection either goes on in step or ends.

Callers: protocol.py.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Coroutine, Generator
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from cargohold.errors import BadRequest, CargoholdError
from cargohold.http import sending, writing
from cargohold.http.call import Call, ClientGone
from cargohold.http.replies import FileSlice, Reply, Stream, error_reply
from cargohold.telemetry import log, request_scope

if TYPE_CHECKING:
    from cargohold.http.protocol import Connection

DRAINED = 256 * 1024
"""An answer that comes before the whole body keeps the connection when at most so many bytes are still to come."""

NEVER = asyncio.Event()
"""The event of requests without a body; nobody waits for it."""


def failure(call: Call, error: BaseException) -> Reply:
    """What is answered when the endpoint raised: a refusal of ours keeps its status, anything else is a bug and is logged."""
    if isinstance(error, CargoholdError):
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in error.headers]
        return error_reply(error.status, error.code, str(error), headers=headers)
    log.error("the endpoint raised", request=call.id, method=call.method, path=call.path, exc_info=error)
    return error_reply(500, CargoholdError.code, " ".join((CargoholdError.__doc__ or "").split()))


class Begun:
    """A coroutine that was driven up to its first suspension outside a task, made ready for a task to go on with.

    The task sees the awaitable that was already yielded first, as if it had driven the coroutine from the start.
    """

    __slots__ = ("_coroutine", "_pending")

    def __init__(self, coroutine: Coroutine[Any, Any, Reply], pending: Any) -> None:
        self._coroutine, self._pending = coroutine, pending

    def __await__(self) -> Generator[Any, Any, Reply]:
        rest = self._coroutine.__await__()
        while True:
            try:
                yield self._pending
                break
            except BaseException as error:  # a cancellation, or the failure of what is waited for: the coroutine must see it
                try:
                    self._pending = rest.throw(error)
                except StopIteration as stop:
                    reply: Reply = stop.value
                    return reply
        return (yield from rest)


class Exchange(RequestResponseCycle):
    """Made when the headers are complete; `start` when its turn has come."""

    def __init__(self, connection: Connection, call: Call, *, keep_alive: bool, old: bool, length: int | None, expects: bool) -> None:
        """`old`: HTTP/1.0. `length`: of the body; 0: there is none; None: chunked. `expects`: the client waits for a 100."""
        self.connection, self.call = connection, call
        self.keep_alive, self.old = keep_alive, old
        self.transport, self.flow = connection.transport, connection.flow
        self.body, self.more_body = bytearray(), length != 0
        self.message_event = asyncio.Event() if length != 0 else NEVER
        self.length, self.received = length, 0
        self.waiting_for_100_continue = expects
        self.disconnected = self.broken = self.waiting = False
        self.response_started = self.response_complete = False
        self.on_response = connection.on_response_complete
        self.started = time.perf_counter()
        if length != 0:
            call.body = FedBody(self, length)

    def permit_body(self) -> None:
        """The handler wants the body: let it come."""
        if self.waiting_for_100_continue and not self.transport.is_closing():
            self.waiting_for_100_continue = False
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.flow.resume_reading()

    def stays_open(self) -> bool:
        """Whether another request may follow on this connection, as it stands when the head of the reply is made."""
        if not self.keep_alive or self.broken or self.connection.state.closing:
            return False
        if not self.more_body:
            return True
        return not self.waiting_for_100_continue and self.length is not None and self.length - self.received <= DRAINED

    async def run(self, begun: Awaitable[Reply] | None = None) -> None:
        """Answers. `begun` is the endpoint's coroutine when the fast path has already driven its first step."""
        with request_scope(self.call.id):
            try:
                if self.flow.write_paused:
                    await self.flow.drain()
                reply = await (begun or self.connection.state.endpoint(self.call))
            except ClientGone as gone:
                if not self.broken:
                    self.abandon()
                    return
                reply = failure(self.call, BadRequest(str(gone)))
            except Exception as error:
                reply = failure(self.call, error)
            except BaseException:
                self.abandon()
                raise
            await self.answer(reply)

    async def answer(self, reply: Reply) -> None:
        """Sends the reply whole, or ends the connection."""
        try:
            if self.broken:
                reply.close()
                reply = error_reply(400, "UNSUPPORTED", self.connection.complaint)
            if self.disconnected or self.transport.is_closing():
                self.abandon()
                return
            await self._send(reply)
        except sending.Cut as cut:
            if not isinstance(cut, sending.Gone):
                log.warning("a reply was cut", request=self.call.id, path=self.call.path, reason=str(cut))
            self.abandon()
        except Exception as error:
            refusal = failure(self.call, error)
            if self.response_started:
                self.abandon()
            else:
                await self._send(refusal)
        except BaseException:
            self.abandon()
            raise
        finally:
            reply.close()

    async def _send(self, reply: Reply) -> None:
        body = writing.small_body(reply, self.call.method)
        if body is not None:
            self.write_small(reply, body)
            return
        content, transport = reply.content, self.transport
        if isinstance(content, FileSlice):
            transport.write(self._head(reply, content.length))
            sent = await sending.send_file(self.connection, content)
        else:
            assert isinstance(content, Stream)
            chunks = await content.open()
            chunked = content.length is None and not self.old
            if content.length is None and self.old:
                self.keep_alive = False
            transport.write(self._head(reply, content.length))
            sent = await sending.send_stream(self.connection, chunks, content.length, chunked=chunked)
        self.complete(reply.status, sent)

    def write_small(self, reply: Reply, body: bytes) -> None:
        """Head and body in one write. Without suspending, so that the fast path may use it too."""
        status, length = reply.status, reply.length
        if self.call.method != "HEAD":
            length = len(body)
        if writing.bodiless(status):
            length, body = -1, b""
        elif length is None:
            length = -1  # HEAD of a stream: how it would be framed is nothing the client needs
        self.transport.write(self._head(reply, length) + body)
        self.complete(status, len(body))

    def _head(self, reply: Reply, length: int | None) -> bytes:
        stays = self.stays_open()
        if length is None and self.old:
            stays, length = False, -1
        self.keep_alive = stays
        connection = b"Connection: close\r\n" if not stays else b"Connection: keep-alive\r\n" if self.old else b""
        head = writing.head(reply, self.call.id, self.connection.state.common.block(), length, connection)
        self.response_started = True
        self.waiting_for_100_continue = False
        return head

    def complete(self, status: int, sent: int) -> None:
        self.response_complete = True
        self.message_event.set()
        self.connection.state.answered(self.call, status, self.received, sent, self.started)
        if not self.keep_alive:
            self.connection.finish(unread=self.more_body)
        self.on_response()

    def abandon(self) -> None:
        """Nothing (more) is sent; the connection ends at once, so that the client cannot take a part for the whole."""
        self.response_complete = True
        self.message_event.set()
        self.connection.state.answered(self.call, 499, self.received, 0, self.started)
        self.transport.abort()
        self.on_response()


class FedBody:
    """The body as the handler sees it. A piece is whatever has come since the last one, so many small HTTP chunks cost little."""

    __slots__ = ("_exchange", "length")

    def __init__(self, exchange: Exchange, length: int | None) -> None:
        self._exchange, self.length = exchange, length

    async def chunks(self) -> AsyncIterator[bytes]:
        exchange = self._exchange
        event = exchange.message_event
        while True:
            exchange.permit_body()
            if exchange.body:
                piece = bytes(exchange.body)
                exchange.body = bytearray()
                yield piece
                continue
            if exchange.disconnected or exchange.broken:
                raise ClientGone
            if not exchange.more_body:
                return
            event.clear()
            exchange.waiting = True
            await event.wait()
            exchange.waiting = False
