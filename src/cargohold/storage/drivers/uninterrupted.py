"""Calls that a cancellation must not cut in the middle: a thread that writes, a request whose effect nobody could undo.

Callers: the drivers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


async def uninterrupted(work: Awaitable[T]) -> T:
    """Awaits `work`; a cancellation of the caller waits until `work` is done, and then goes on."""
    future = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        while not future.done():
            try:
                await asyncio.wait([future])
            except asyncio.CancelledError:
                continue
        if not future.cancelled():
            future.exception()  # marks it as seen: the cancellation is what the caller hears of
        raise
