"""What a handler answers: status, headers, and the body as bytes, as a slice of a file, or as a stream.

The writer adds `Content-Length` from `length` (none for 1xx, 204 and 304; chunked when it is None), `Date` and
`X-Request-Id`, and leaves the body out for HEAD: a handler makes the same reply for GET and HEAD.
Whoever writes a reply closes what it holds (`close`), also when nothing of it was sent.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable

import msgspec

Headers = list[tuple[bytes, bytes]]


class FileSlice:
    """`length` bytes from `start` of an open file; the descriptor belongs to the reply."""

    __slots__ = ("fd", "length", "start")

    def __init__(self, fd: int, start: int, length: int) -> None:
        self.fd, self.start, self.length = fd, start, length


class Stream:
    """`length` bytes (None: unknown) from chunks that begin to flow when `open` is awaited; HEAD never opens it."""

    __slots__ = ("length", "open")

    def __init__(self, length: int | None, open: Callable[[], Awaitable[AsyncIterator[bytes]]]) -> None:
        self.length, self.open = length, open


class Reply:
    __slots__ = ("content", "headers", "length", "status")

    def __init__(self, status: int, headers: Headers, content: bytes | FileSlice | Stream = b"", *, length: int | None = None) -> None:
        """`length` overrides the announced length: a HEAD that opened nothing still tells the size."""
        self.status, self.headers, self.content = status, headers, content
        if length is not None:
            self.length: int | None = length
        elif isinstance(content, bytes):
            self.length = len(content)
        else:
            self.length = content.length

    def close(self) -> None:
        if isinstance(self.content, FileSlice) and self.content.fd >= 0:
            os.close(self.content.fd)
            self.content.fd = -1


_JSON = (b"Content-Type", b"application/json; charset=utf-8")


def error_reply(status: int, code: str, message: str, *, detail: object = None, headers: Headers | None = None) -> Reply:
    """One error in the form of the OCI specification: `{"errors": [{"code", "message", "detail"?}]}` and a newline."""
    error: dict[str, object] = {"code": code, "message": message}
    if detail is not None:
        error["detail"] = detail
    return Reply(status, [_JSON, *(headers or ())], msgspec.json.encode({"errors": [error]}) + b"\n")
