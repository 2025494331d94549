"""`Range` of a blob (RFC 9110 section 14), with the answers of Go's ServeContent that clients of registry:2 know."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable

from cargohold.errors import BlobRangeInvalid
from cargohold.http.replies import Stream

Part = tuple[int, int]
"""First byte and the one behind the last."""

_SPEC = re.compile(r"(\d{0,19})-(\d{0,19})")
_MOST = 64
_BOUNDARY = "cargohold-byteranges-7f3a1c"


def parse(header: str, size: int) -> list[Part] | None:
    """The parts to send; None: the whole blob is cheaper. Raises BlobRangeInvalid for nonsense and for what lies behind the end."""
    unit, equals, specs = header.partition("=")
    if not equals or unit.strip() != "bytes":
        raise BlobRangeInvalid(size)
    parts: list[Part] = []
    for spec in specs.split(","):
        spec = spec.strip()
        if not spec:
            continue
        match = _SPEC.fullmatch(spec)
        if not match or spec == "-":
            raise BlobRangeInvalid(size)
        part = _resolve(match[1], match[2], size)
        if part is not None:
            parts.append(part)
    if not parts:
        raise BlobRangeInvalid(size)
    if len(parts) > 1 and (len(parts) > _MOST or sum(end - start for start, end in parts) > size):
        return None
    return parts


def _resolve(first: str, last: str, size: int) -> Part | None:
    if not first:
        length = min(int(last), size)
        return (size - length, size) if length else None
    start = int(first)
    if last and int(last) < start:
        raise BlobRangeInvalid(size)
    if start >= size:
        return None
    return start, min(int(last) + 1, size) if last else size


def multipart(
    parts: list[Part], size: int, media_type: str, read: Callable[[int, int], Awaitable[AsyncIterator[bytes]]]
) -> tuple[bytes, Stream]:
    """Content-Type and body of a multipart/byteranges answer."""
    heads = [
        f"\r\n--{_BOUNDARY}\r\nContent-Type: {media_type}\r\nContent-Range: bytes {start}-{end - 1}/{size}\r\n\r\n".encode()
        for start, end in parts
    ]
    heads[0] = heads[0][2:]
    tail = f"\r\n--{_BOUNDARY}--\r\n".encode()
    length = sum(map(len, heads)) + len(tail) + sum(end - start for start, end in parts)

    async def chunks() -> AsyncIterator[bytes]:
        for head, (start, end) in zip(heads, parts, strict=True):
            yield head
            async for chunk in await read(start, end):
                yield chunk
        yield tail

    async def open_() -> AsyncIterator[bytes]:
        return chunks()

    return f"multipart/byteranges; boundary={_BOUNDARY}".encode(), Stream(length, open_)
