"""One request as the planes see it, whatever server carried it; and the body that streams in behind it.

`path` is the raw path, still percent-encoded; header names are lower case. `client` is the address of the socket's other end.
The protocol class (protocol.py) and the ASGI adaptor (asgi.py) both make a `Call` and write the `Reply` of the same endpoint.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Protocol

from cargohold.http.replies import Reply


class ClientGone(Exception):
    """The client closed before its body was complete; what came so far may be kept."""


class Body(Protocol):
    """The request's body. Nothing is read (and `Expect: 100-continue` is not answered) before the first chunk is asked for."""

    length: int | None
    """`Content-Length`, or None when the body is chunked."""

    def chunks(self) -> AsyncIterator[bytes]:
        """Pieces as they come, with backpressure. Raises `ClientGone` when the client leaves early."""


class Call:
    """A request. `id` goes out as `X-Request-Id` and into every log line; `actor` and `route` are filled in by the plane.

    `client` is an IP address without a port (`unix` for a socket file). `route` is the name of the handler, from a small fixed
    set: it is a label of the metrics.
    """

    __slots__ = ("actor", "body", "client", "headers", "id", "method", "path", "query", "route", "scheme")

    def __init__(
        self,
        method: str,
        path: str,
        query: str,
        headers: list[tuple[bytes, bytes]],
        *,
        client: str,
        scheme: str,
        id: str,
        body: Body | None = None,
    ) -> None:
        self.method, self.path, self.query, self.headers = method, path, query, headers
        self.client, self.scheme, self.id, self.body = client, scheme, id, body
        self.actor: object = None
        self.route = ""

    def header(self, name: bytes) -> str | None:
        """The first header of that (lower-case) name."""
        for key, value in self.headers:
            if key == name:
                return value.decode("latin-1")
        return None

    def header_list(self, name: bytes) -> list[str]:
        """All headers of that name, split on commas, without the blanks around them."""
        found = [value.decode("latin-1") for key, value in self.headers if key == name]
        return [item for line in found for part in line.split(",") if (item := part.strip())]


Endpoint = Callable[[Call], Awaitable[Reply]]
"""A plane. It answers every call, errors included; what it raises is a bug and becomes a 500."""
