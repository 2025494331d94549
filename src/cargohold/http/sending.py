"""Bodies that do not go out in one write: files by sendfile, streams with backpressure. The head is already in the transport.

- Plain TCP or unix: `os.sendfile` on a duplicate of the socket (the event loop owns the original), at most 1 MiB a call; when the
  socket is full, `add_writer` tells when it goes on. It begins only when the transport has let go of the head.
- TLS: 256 KiB pieces through the transport, waiting until it drains.

Memory for one reader, however slow: one piece. `Cut` is raised when the peer is gone or the source does not hold what was announced.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from cargohold.http.replies import FileSlice

if TYPE_CHECKING:
    from cargohold.http.protocol import Connection

SENDFILE = 1 << 20
PIECE = 256 * 1024


class Cut(Exception):
    """The reply cannot be completed; the connection must end."""


class Gone(Cut):
    """The client is gone."""


async def send_file(connection: Connection, content: FileSlice) -> int:
    """Returns the bytes sent: all of them."""
    if connection.scheme == "https":
        return await _copy_file(connection, content)
    return await _sendfile(connection, content)


async def _drained(connection: Connection) -> None:
    """Waits until the transport holds nothing that must go out before."""
    transport = connection.transport
    transport.set_write_buffer_limits(high=0)
    try:
        while transport.get_write_buffer_size():
            if transport.is_closing():
                raise Gone
            if connection.flow.write_paused:
                await connection.flow.drain()
            else:
                await asyncio.sleep(0)
    finally:
        transport.set_write_buffer_limits()


async def _sendfile(connection: Connection, content: FileSlice) -> int:
    await _drained(connection)
    socket = connection.transport.get_extra_info("socket")
    if socket is None or socket.fileno() < 0:
        raise Gone
    out = os.dup(socket.fileno())
    try:
        position, end = content.start, content.start + content.length
        while position < end:
            if connection.transport.is_closing():
                raise Gone
            try:
                count = os.sendfile(out, content.fd, position, min(end - position, SENDFILE))
            except BlockingIOError:
                await _writable(connection, out)
                continue
            except (BrokenPipeError, ConnectionResetError):
                raise Gone from None
            except OSError as error:
                raise Cut(str(error)) from None
            if count == 0:
                raise Cut(f"the file ends {end - position} bytes before its announced length")
            position += count
            connection.moved(count)
            if count == SENDFILE:
                await asyncio.sleep(0)  # a fast reader must not keep the loop for a whole layer
    finally:
        os.close(out)
    return content.length


async def _writable(connection: Connection, out: int) -> None:
    loop = connection.loop
    waiter: asyncio.Future[None] = loop.create_future()
    connection.send_waiter = waiter
    loop.add_writer(out, _wake, waiter)
    try:
        await waiter
    finally:
        connection.send_waiter = None
        loop.remove_writer(out)


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


async def _copy_file(connection: Connection, content: FileSlice) -> int:
    position, end = content.start, content.start + content.length
    while position < end:
        piece = os.pread(content.fd, min(end - position, PIECE), position)
        if not piece:
            raise Cut(f"the file ends {end - position} bytes before its announced length")
        await _write(connection, piece)
        position += len(piece)
    return content.length


async def send_stream(connection: Connection, chunks: AsyncIterator[bytes], length: int | None, *, chunked: bool) -> int:
    """Returns the bytes of the body that were sent; for a known `length` exactly those."""
    sent = 0
    try:
        async for chunk in chunks:
            if not chunk:
                continue
            sent += len(chunk)
            if length is not None and sent > length:
                raise Cut(f"the stream goes on after its announced {length} bytes")
            await _write(connection, b"%x\r\n%b\r\n" % (len(chunk), chunk) if chunked else chunk)
    except (Cut, asyncio.CancelledError):
        raise
    except Exception as error:
        raise Cut(f"the source of the stream failed: {error!r}") from error
    finally:
        close = getattr(chunks, "aclose", None)
        if close is not None:
            await close()
    if length is not None and sent < length:
        raise Cut(f"the stream ends {length - sent} bytes before its announced length")
    if chunked:
        connection.transport.write(b"0\r\n\r\n")
    return sent


async def _write(connection: Connection, data: bytes) -> None:
    if connection.transport.is_closing():
        raise Gone
    connection.transport.write(data)
    connection.moved(len(data))
    if connection.flow.write_paused:
        await connection.flow.drain()
