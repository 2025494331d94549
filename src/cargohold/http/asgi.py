"""An `Endpoint` as an ASGI application: what every server that is not our own protocol class uses, and the tests' client.

The same call, the same reply, the same headers as through protocol.py. `http.disconnect` in the middle of a body is `ClientGone`.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from cargohold.http import writing
from cargohold.http.call import Call, ClientGone, Endpoint
from cargohold.http.exchange import failure
from cargohold.http.replies import FileSlice, Reply, Stream
from cargohold.telemetry import log, request_scope

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

PIECE = 256 * 1024
JOINED = 16 * 1024 * 1024
"""A reply of unknown length to an HTTP/1.0 client is joined in memory up to here: ASGI has no way to end a body by closing."""


class _ReceivedBody:
    __slots__ = ("_receive", "length")

    def __init__(self, receive: Receive, length: int | None) -> None:
        self._receive, self.length = receive, length

    async def chunks(self) -> AsyncIterator[bytes]:
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            if piece := message.get("body", b""):
                yield piece
            if not message.get("more_body", False):
                return


class EndpointApp:
    """`EndpointApp(endpoint)(scope, receive, send)`; lifespan is answered and does nothing."""

    def __init__(self, endpoint: Endpoint, headers: dict[str, list[str]] | None = None) -> None:
        self._endpoint = endpoint
        self._common, self._ids = writing.Common(headers or {}), writing.RequestIds()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        call = self._call(scope, receive)
        with request_scope(call.id):
            try:
                reply = await self._endpoint(call)
            except ClientGone:
                return
            except Exception as error:
                reply = failure(call, error)
            try:
                await self._answer(scope, call, reply, send)
            finally:
                reply.close()

    def _call(self, scope: Scope, receive: Receive) -> Call:
        headers: list[tuple[bytes, bytes]] = list(scope["headers"])
        length, given = _body_length(headers)
        client: Iterable[object] = scope.get("client") or ("unix", 0)
        return Call(
            scope["method"],
            bytes(scope.get("raw_path") or scope["path"].encode()).partition(b"?")[0].decode("latin-1"),
            bytes(scope["query_string"]).decode("latin-1"),
            headers,
            client=str(next(iter(client))),
            scheme=scope["scheme"],
            id=self._ids(given),
            body=_ReceivedBody(receive, length) if length != 0 else None,
        )

    async def _answer(self, scope: Scope, call: Call, reply: Reply, send: Send) -> None:
        try:
            body = writing.small_body(reply, call.method)
            headers = writing.header_list(reply, call.id, self._common.pairs())
            chunks = await _open(reply) if body is None else None
        except Exception as error:
            reply.close()
            reply = failure(call, error)
            body, chunks = writing.small_body(reply, call.method), None
            headers = writing.header_list(reply, call.id, self._common.pairs())
        old = scope.get("http_version") == "1.0"
        length = reply.length
        if body is not None and call.method != "HEAD":
            length = len(body)
        elif chunks is not None and length is None and old:
            body, chunks = await _joined(chunks), None
            length = len(body)
        if length is not None and not writing.bodiless(reply.status):
            headers.append((b"Content-Length", b"%d" % length))
        if old and (b"connection", b"keep-alive") in [(name, value.lower()) for name, value in scope["headers"]]:
            headers.append((b"Connection", b"keep-alive"))
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        if chunks is not None:
            await _send_chunks(call, chunks, length, send)
        else:
            await send({"type": "http.response.body", "body": b"" if writing.bodiless(reply.status) else body})


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


def _body_length(headers: list[tuple[bytes, bytes]]) -> tuple[int | None, bytes | None]:
    length: int | None = 0
    given = None
    for name, value in headers:
        if name == b"content-length":
            length = int(value)
        elif name == b"transfer-encoding":
            length = None
        elif name == b"x-request-id":
            given = value
    return length, given


async def _open(reply: Reply) -> AsyncIterator[bytes]:
    if isinstance(reply.content, FileSlice):
        return _pieces(reply.content)
    assert isinstance(reply.content, Stream)
    return await reply.content.open()


async def _pieces(content: FileSlice) -> AsyncIterator[bytes]:
    position, end = content.start, content.start + content.length
    while position < end:
        piece = os.pread(content.fd, min(PIECE, end - position), position)
        if not piece:
            return
        position += len(piece)
        yield piece


async def _joined(chunks: AsyncIterator[bytes]) -> bytes:
    whole = bytearray()
    async for chunk in chunks:
        whole += chunk
        if len(whole) > JOINED:
            raise ValueError("a reply of unknown length is too long for an HTTP/1.0 client")
    return bytes(whole)


async def _send_chunks(call: Call, chunks: AsyncIterator[bytes], length: int | None, send: Send) -> None:
    """A source that gives too little or fails leaves the answer incomplete, which the server turns into a closed connection."""
    sent = 0
    try:
        async for chunk in chunks:
            sent += len(chunk)
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
    except Exception as error:
        log.warning("a reply was cut", request=call.id, path=call.path, reason=repr(error))
        raise
    if length is not None and sent != length:
        raise ValueError(f"the reply to {call.path} has {sent} bytes instead of {length}")
    await send({"type": "http.response.body", "body": b""})
