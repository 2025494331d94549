"""One connection: uvicorn's HTTP/1.1 protocol, with our own way from the parsed headers to the endpoint.

    headers complete --> refused (431, 414, 503, 400 ...)                                   reply, then close
                     --> GET or HEAD without a body, nothing before it, the worker is `inline`
                           first step of endpoint(call) --> finished: reply in one write    (fast path)
                                                        --> suspended: goes on as a task    (Begun)
                     --> anything else for the endpoint: an Exchange, at once or in the queue
                     --> not the endpoint's path, or `plain_asgi`: uvicorn's own ASGI cycle

Invariants
- Answers leave in the order of the requests, also when a fast one stands behind a slow one.
- During the first step of the fast path `asyncio.current_task()` is None: no asyncio.timeout, no TaskGroup there. An app that needs
  them early says `inline = False`.
- No request line, header or body can make a connection hang: what breaks HTTP is answered 400 in OCI form, then the connection ends.
- Time limits are kept by `sweep`, which server.py calls about once a second for every connection; no request arms a timer.

uvicorn internals that this leans on (tests/http/test_uvicorn.py fails when one changes): the parser callbacks, `cycle`, `pipeline`
(newest left), `flow`, `_start_asgi_task`, `on_response_complete`, `_unset_keepalive_if_required`.

Callers: server.py makes one for each accepted socket.
"""

from __future__ import annotations

import asyncio
import fcntl
import struct
import termios
from collections.abc import Awaitable, Coroutine
from types import CoroutineType
from typing import Any, cast

import httptools
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from cargohold.http import writing
from cargohold.http.call import Call, ClientGone
from cargohold.http.exchange import Begun, Exchange, failure
from cargohold.http.replies import Reply, error_reply
from cargohold.http.state import WorkerState
from cargohold.telemetry import log, request_id

URL_LIMIT = 16 * 1024
HEADERS_LIMIT = 200
LINGER_BYTES = 64 * 1024 * 1024
LINGER_SECONDS = 3.0

_INT = struct.Struct("i")
_WATCHED = frozenset((b"content-length", b"transfer-encoding", b"expect", b"x-request-id", b"host"))


class _Done(RequestResponseCycle):
    """Stands for a request that was answered in the fast path."""

    def __init__(self) -> None:
        self.response_complete, self.disconnected, self.more_body = True, False, False
        self.message_event = asyncio.Event()
        self.body = bytearray()


DONE = _Done()


class Refused(Exception):
    """The request is answered by the server itself, and the connection ends."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Connection(HttpToolsProtocol):
    def __init__(self, state: WorkerState, loop: asyncio.AbstractEventLoop, *, refusal: tuple[int, str] | None = None) -> None:
        """`refusal`: the answer to whatever is asked on this connection."""
        super().__init__(state.config, state, {}, loop)
        self.state = state
        self.header_limit = state.http.header_limit
        self.active: Exchange | None = None
        self.send_waiter: asyncio.Future[None] | None = None
        self.complaint = ""
        self.refusal = refusal
        self.lingering = 0.0
        self.discarded = 0
        self.in_headers, self.header_bytes, self.big = True, 0, False
        self.touched = self.header_since = state.now
        self.total_moved = self.mark = 0
        self.url = b""
        self.address = "unix"

    # The socket

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(cast(asyncio.Transport, transport))
        if self.client is not None:
            self.address = self.client[0]
        if len(self.connections) > self.state.http.max_connections:
            self.refusal = (503, "This worker has as many connections as it may have; try again")
            if len(self.connections) > self.state.http.max_connections + 256:
                self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        for cycle in [self.active, *(waiting for waiting, _ in self.pipeline)]:
            if cycle is not None and not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()
        self.pipeline.clear()
        if self.send_waiter is not None and not self.send_waiter.done():
            self.send_waiter.set_result(None)
        super().connection_lost(exc)

    def eof_received(self) -> bool | None:  # type: ignore[override]  # uvicorn says None; asyncio means bool | None
        """A client that only closed its sending half still gets the answers of the requests that came whole."""
        exchange = self.active
        if exchange is None or exchange.response_complete or self.scheme == "https":
            return None
        newest = self.cycle
        if newest.more_body or self.lingering:
            return None
        newest.keep_alive = False
        return True

    def data_received(self, data: bytes) -> None:
        if self.lingering or self.complaint:
            self.discard(len(data))
            return
        self.touched = self.state.now
        size = len(data)
        if self.in_headers:
            if not self.header_bytes:
                self.header_since = self.state.now
            self.header_bytes += size
            self.big = size > self.header_limit
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            # the request was answered as any other, which declines the offer; the parser has stopped behind it
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
            if rest := data[offer.args[0] :]:
                self.data_received(rest)
        except httptools.HttpParserError as error:
            context = error.__context__
            if isinstance(context, Refused):
                self._refuse(context.status, str(context))
            else:
                if isinstance(error, httptools.HttpParserCallbackError):
                    log.error("the HTTP protocol raised", exc_info=error)
                self._complain(f"This is not HTTP/1.1: {error}")
        else:
            if self.in_headers and self.header_bytes > self.header_limit and not self.lingering:
                self._refuse(*self._oversize())

    def discard(self, size: int) -> None:
        self.discarded += size
        if self.discarded > LINGER_BYTES:
            self.transport.abort()

    def moved(self, count: int) -> None:
        """Bytes of a reply were taken by the transport or the kernel."""
        self.total_moved += count

    # Parser callbacks

    def on_message_begin(self) -> None:
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        if not self.header_bytes:
            self.header_bytes = 1
            self.header_since = self.state.now

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_body(self, body: bytes) -> None:
        cycle = self.cycle
        if cycle.response_complete:
            return
        cycle.body += body
        if isinstance(cycle, Exchange):
            cycle.received += len(body)
        if len(cycle.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        cycle.message_event.set()

    def on_message_complete(self) -> None:
        self.in_headers, self.header_bytes = True, 0
        cycle = self.cycle
        if not cycle.response_complete:
            cycle.more_body = False
            cycle.message_event.set()

    def on_headers_complete(self) -> None:
        self.in_headers, self.header_bytes = False, 0
        if self.lingering or self.transport.is_closing():
            self.cycle = DONE
            return
        parser = self.parser
        version = parser.get_http_version()
        length, expects, given, hosts = self._read_headers()
        path, query = self._target()
        self._check(version, hosts)
        method = parser.get_method().decode("ascii")
        state = self.state
        if state.plain_asgi or not state.claims(path):
            self._start_asgi(version, expects, f"{path}?{query}" if query else path)
            return
        call = Call(method, path, query, self.headers, client=self.address, scheme=self.scheme or "http", id=state.ids(given))
        exchange = Exchange(
            self, call, keep_alive=parser.should_keep_alive(), old=version != "1.1", length=length, expects=expects and version == "1.1"
        )
        before = self.cycle
        self.cycle = exchange
        if before is not None and not before.response_complete:
            self.flow.pause_reading()
            self.pipeline.appendleft((exchange, self.app))
        elif state.inline and length == 0 and (method == "GET" or method == "HEAD") and not self.flow.write_paused:
            self._first_step(exchange)
        else:
            self._start(exchange)

    def _read_headers(self) -> tuple[int | None, bool, bytes | None, int]:
        """Length of the body (None: chunked), whether a 100 is waited for, the client's own request id, number of Host headers."""
        length: int | None = 0
        expects, given, hosts = False, None, 0
        for name, value in self.headers:
            if name in _WATCHED:
                if name == b"host":
                    hosts += 1
                elif name == b"content-length":
                    length = int(value)
                elif name == b"transfer-encoding":
                    length = None
                    if value.strip().lower() != b"chunked":
                        raise Refused(501, "The only transfer coding here is chunked")
                elif name == b"expect":
                    expects = value.strip().lower() == b"100-continue"
                else:
                    given = value
        return length, expects, given, hosts

    def _target(self) -> tuple[str, str]:
        """Raw path and query of the request line, also when it came in absolute form (RFC 9112, 3.2.2)."""
        url = self.url
        if len(url) > URL_LIMIT:
            raise Refused(414, f"The URL is longer than {URL_LIMIT} bytes")
        if not url.startswith(b"/"):
            scheme, mark, rest = url.partition(b"://")
            if not mark or scheme.lower() not in (b"http", b"https"):
                raise Refused(400, "The target of the request is neither a path nor a URL")
            slash = rest.find(b"/")
            url = rest[slash:] if slash >= 0 else b"/" + rest[len(rest.partition(b"?")[0]) :]
        path, _, query = url.partition(b"#")[0].partition(b"?")
        try:
            return path.decode("ascii"), query.decode("ascii")
        except UnicodeDecodeError:
            raise Refused(400, "The URL holds bytes that must be percent-encoded") from None

    def _check(self, version: str, hosts: int) -> None:
        if self.refusal is not None:
            raise Refused(*self.refusal)
        if len(self.headers) > HEADERS_LIMIT:
            raise Refused(431, f"The request has more than {HEADERS_LIMIT} headers")
        if self.big and sum(len(name) + len(value) + 4 for name, value in self.headers) > self.header_limit:
            raise Refused(*self._oversize())
        if hosts != 1 and (hosts or version == "1.1"):
            raise Refused(400, "A request has exactly one Host header")
        if self.state.draining:
            raise Refused(503, "The registry is shutting down; try again")

    def _oversize(self) -> tuple[int, str]:
        if len(self.url) > URL_LIMIT or not self.headers:
            return 414, f"The URL is longer than {URL_LIMIT} bytes"
        return 431, f"The headers are longer than {self.header_limit} bytes"

    # From a request to its answer

    def _first_step(self, exchange: Exchange) -> None:
        """Drives the endpoint up to its first suspension; most reads of a registry never suspend."""
        call = exchange.call
        coroutine = self.state.endpoint(call)
        if type(coroutine) is not CoroutineType:
            self._start(exchange, coroutine)
            return
        scope = request_id.set(call.id)
        try:
            pending = coroutine.send(None)
        except StopIteration as stop:
            self._answer_now(exchange, stop.value)
        except ClientGone:
            exchange.abandon()
        except Exception as error:
            self._answer_now(exchange, failure(call, error))
        else:
            self._start(exchange, Begun(coroutine, pending))
        finally:
            request_id.reset(scope)

    def _answer_now(self, exchange: Exchange, reply: Reply) -> None:
        try:
            body = writing.small_body(reply, exchange.call.method)
            if body is not None:
                exchange.write_small(reply, body)
                return
        except Exception as error:
            reply.close()
            exchange.write_small(refusal := failure(exchange.call, error), cast(bytes, refusal.content))
            return
        self.active = exchange
        self._task(exchange.answer(reply))

    def _start(self, exchange: Exchange, begun: Awaitable[Reply] | None = None) -> None:
        self.active = exchange
        self._task(exchange.run(begun))

    def _task(self, work: Coroutine[Any, Any, None]) -> None:
        task = self.loop.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def _start_asgi(self, version: str, expects: bool, target: str) -> None:
        headers = self.headers
        super().on_message_begin()
        self.url = target.encode("ascii")
        headers[:], self.scope["headers"], self.headers = headers, headers, headers
        self.expect_100_continue = expects
        super().on_headers_complete()
        if version == "1.0":
            self.cycle.keep_alive = self.parser.should_keep_alive()

    def on_response_complete(self) -> None:
        self.state.total_requests += 1
        self.active = None
        self.touched = self.state.now
        if self.transport.is_closing() or self.lingering:
            self.pipeline.clear()
            return
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            if isinstance(cycle, Exchange):
                self._start(cycle)
            else:
                self._start_asgi_task(cycle, app)
            if not self.pipeline:
                self.flow.resume_reading()
        elif self.refusal is not None and self.complaint:
            self._refuse(*self.refusal)
        else:
            self.flow.resume_reading()

    # Endings

    def _complain(self, message: str) -> None:
        """The bytes are not HTTP/1.1: 400, after the answers that are still on their way."""
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            if isinstance(cycle, Exchange) and cycle.more_body:
                cycle.broken = True
                cycle.message_event.set()
            elif cycle.more_body:
                cycle.disconnected = cycle.response_complete = True  # to the ASGI app the client has gone; we answer in its place
                cycle.message_event.set()
        self._refuse(400, message)

    def _refuse(self, status: int, message: str) -> None:
        """Answers in the server's own name and ends the connection; nothing may be in the middle of an answer."""
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            self.complaint, self.refusal = message, (status, message)
            self.flow.pause_reading()
            return
        code = {503: "UNAVAILABLE", 431: "SIZE_INVALID", 414: "SIZE_INVALID"}.get(status, "UNSUPPORTED")
        reply = error_reply(status, code, message)
        if status == 503:
            reply.headers.append((b"Retry-After", b"5"))
        body = cast(bytes, reply.content)
        id = self.state.ids(None)
        head = writing.head(reply, id, self.state.common.block(), len(body), b"Connection: close\r\n")
        self.transport.write(head + body)
        self.cycle = DONE
        self.state.refused(status, id, self.address, message)
        self.finish(unread=True)

    def finish(self, *, unread: bool) -> None:
        """Ends the connection after what is written. With bytes of the client still unread, closing at once would throw the answer
        away on its side (a reset overtakes it), so the rest is read and dropped for a moment."""
        if not unread:
            self.transport.close()
            return
        self.lingering = self.state.now + LINGER_SECONDS
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()

    def shutdown(self) -> None:
        """The worker stops: an idle connection ends now, a busy one after its answer."""
        if self.idle():
            self.transport.close()
        elif self.cycle is not None:
            self.cycle.keep_alive = False

    def idle(self) -> bool:
        return (self.cycle is None or self.cycle.response_complete) and self.active is None and not self.pipeline

    def _waits_for_body(self) -> bool:
        if self.active is not None:
            return self.active.waiting
        cycle = self.cycle  # an ASGI app does not tell whether it reads: not paused means that it could take more
        return cycle is not None and not cycle.response_complete and cycle.more_body and not self.flow.read_paused

    def _unacknowledged(self) -> int:
        """Bytes that the kernel still holds for the peer: a slow reader moves here long before the socket is writable again."""
        socket = self.transport.get_extra_info("socket")
        try:
            (count,) = _INT.unpack(fcntl.ioctl(socket.fileno(), termios.TIOCOUTQ, bytes(4)))
        except (AttributeError, OSError):
            return 0
        return int(count)

    def sweep(self, now: float) -> None:
        """Ends the connection when it has outstayed one of the time limits."""
        http, transport = self.state.http, self.transport
        if transport.is_closing():
            if now - self.touched > http.idle_timeout:
                transport.abort()
            return
        if self.lingering:
            if now > self.lingering:
                transport.close()
            return
        buffered = transport.get_write_buffer_size()
        mark = self.total_moved - buffered - (self._unacknowledged() if buffered or self.send_waiter is not None else 0)
        if mark != self.mark:
            self.mark, self.touched = mark, now
        if buffered or self.send_waiter is not None or self._waits_for_body():
            if now - self.touched > http.idle_timeout:
                transport.abort()
        elif self.idle():
            if self.header_bytes:
                if now - self.header_since > http.header_timeout:
                    self._refuse(408, "The headers took too long")
            elif now - self.touched > self.state.keepalive():
                transport.close()
