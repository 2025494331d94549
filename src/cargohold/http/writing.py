"""A `Reply` as bytes on the wire: status line, headers, `Date`, `X-Request-Id`, the configured extra headers.

Both ways out use it: protocol.py (`head`, one block of bytes) and asgi.py (`header_list`, pairs), so an answer is the same whichever
server carried it.

Rules
- `Content-Length` is the length of what is sent (HEAD: the announced one); none on 1xx, 204 and 304; chunked when it is unknown.
- A header with a line break in it is a bug of the handler: `BadHeader`, nothing of the reply goes out.
"""

from __future__ import annotations

import itertools
import os
import re
import time
from email.utils import formatdate
from http import HTTPStatus

from cargohold.http.replies import FileSlice, Headers, Reply

SMALL = 64 * 1024
"""Bytes of a file that are read and written in one go; more goes out with sendfile."""

_SANE_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")


class BadHeader(Exception):
    """A handler made a header that would break the answer apart."""


def _status_line(status: int) -> bytes:
    known = {item.value: item.phrase for item in HTTPStatus}
    return f"HTTP/1.1 {status} {known.get(status, 'Unknown')}\r\n".encode()


STATUS_LINES = {status: _status_line(status) for status in range(100, 600)}


def bodiless(status: int) -> bool:
    """Answers that have neither a body nor a `Content-Length` (RFC 9110, 6.4.1)."""
    return status == 204 or status == 304 or status < 200


class Common:
    """Headers that every answer carries; the `Date` among them is made once in a second."""

    def __init__(self, extra: dict[str, list[str]]) -> None:
        self._extra = [(name.encode("latin-1"), value.encode("latin-1")) for name, values in extra.items() for value in values]
        self._second = -1
        self._pairs: Headers = []
        self._block = b""

    def _refresh(self, second: int) -> None:
        self._second = second
        self._pairs = [(b"Date", formatdate(second, usegmt=True).encode()), *self._extra]
        self._block = b"".join([b"%b: %b\r\n" % pair for pair in self._pairs])

    def block(self) -> bytes:
        second = int(time.time())
        if second != self._second:
            self._refresh(second)
        return self._block

    def pairs(self) -> Headers:
        self.block()
        return self._pairs


class RequestIds:
    """`<8 random hex>-<counter>`: unique without asking the kernel for each request. Made after the fork, one per worker."""

    def __init__(self) -> None:
        self._prefix = os.urandom(4).hex()
        self._next = itertools.count(1).__next__

    def __call__(self, given: bytes | None) -> str:
        """The client's own id when it is of sane form, else a new one."""
        if given is not None and _SANE_ID.fullmatch(given):
            return given.decode("ascii")
        return f"{self._prefix}-{self._next():x}"


def head(reply: Reply, id: str, common: bytes, length: int | None, connection: bytes) -> bytes:
    """Everything up to the empty line. `length` None: chunked, or until close when `connection` says so; -1: no length at all."""
    lines = [b"%b: %b\r\n" % pair for pair in reply.headers]
    block = b"".join(lines)
    if block.count(b"\n") != len(lines) or block.count(b"\r") != len(lines):
        raise BadHeader(f"a header of this reply holds a line break: {block!r}")
    if length is None:
        framing = b"Transfer-Encoding: chunked\r\n"
    elif length < 0:
        framing = b""
    else:
        framing = b"Content-Length: %d\r\n" % length
    return b"%b%b%bX-Request-Id: %b\r\n%b%b\r\n" % (STATUS_LINES[reply.status], common, block, id.encode("ascii"), framing, connection)


def header_list(reply: Reply, id: str, common: Headers) -> Headers:
    """The same headers as pairs, without those that frame the body."""
    for name, value in reply.headers:
        if b"\n" in name or b"\n" in value or b"\r" in name or b"\r" in value:
            raise BadHeader(f"a header of this reply holds a line break: {name!r}: {value!r}")
    return [*common, *reply.headers, (b"X-Request-Id", id.encode("ascii"))]


def small_body(reply: Reply, method: str) -> bytes | None:
    """The whole body when it may go out in one write with the head, else None. Closes the file of a small reply."""
    content = reply.content
    if isinstance(content, bytes):
        return content if method != "HEAD" else b""
    if method == "HEAD":
        reply.close()
        return b""
    if isinstance(content, FileSlice) and content.length <= SMALL:
        return read_slice(reply, content)
    return None


def read_slice(reply: Reply, content: FileSlice) -> bytes:
    try:
        data = os.pread(content.fd, content.length, content.start)
    finally:
        reply.close()
    if len(data) != content.length:
        raise OSError(f"the file ends {content.length - len(data)} bytes before its announced length")
    return data
