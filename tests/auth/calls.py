"""Calls with an Authorization header, and how an authenticator's coroutine is driven without a loop."""

from __future__ import annotations

import base64
from collections.abc import Coroutine
from typing import TypeVar

from cargohold.http.call import Call

T = TypeVar("T")


def call(authorization: str | bytes | None = None, *, client: str = "192.0.2.1", path: str = "/v2/") -> Call:
    headers = []
    if authorization is not None:
        headers.append((b"authorization", authorization if isinstance(authorization, bytes) else authorization.encode()))
    return Call("GET", path, "", headers, client=client, scheme="http", id="test")


def basic(name: str | bytes, password: str | bytes) -> str:
    parts = [text.encode() if isinstance(text, str) else text for text in (name, password)]
    return "Basic " + base64.b64encode(b":".join(parts)).decode()


def at_once(coroutine: Coroutine[object, object, T]) -> T:
    """The result of a coroutine that never suspends; a suspension fails the test."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return] # StopIteration carries Any
    coroutine.close()
    raise AssertionError("the coroutine suspended")
