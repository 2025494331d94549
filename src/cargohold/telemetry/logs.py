"""Structured logs."""

from __future__ import annotations

from contextvars import ContextVar, Token
from types import TracebackType

import structlog

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""Id of the request that the running code works for; empty outside requests."""

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class request_scope:
    """`with request_scope(id):` every log line inside carries the id."""

    __slots__ = ("_id", "_token")

    def __init__(self, id: str) -> None:
        self._id = id
        self._token: Token[str] | None = None

    def __enter__(self) -> None:
        self._token = request_id.set(self._id)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._token is not None:
            request_id.reset(self._token)
