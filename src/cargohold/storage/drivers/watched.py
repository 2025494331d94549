"""`@watched`: how long the calls of a driver take, and how many fail, as metrics of its name and the call's."""

from __future__ import annotations

import functools
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from cargohold.errors import StorageFull, Unavailable
from cargohold.telemetry import metrics


class Named(Protocol):
    name: str


D = TypeVar("D", bound=Named)
P = ParamSpec("P")
T = TypeVar("T")


def watched(call: Callable[Concatenate[D, P], Awaitable[T]]) -> Callable[Concatenate[D, P], Coroutine[Any, Any, T]]:
    """Only what storage itself refuses counts as its failure; a wrong digest is the client's."""

    @functools.wraps(call)
    async def counted(driver: D, /, *args: P.args, **kwargs: P.kwargs) -> T:
        started = time.perf_counter()
        try:
            return await call(driver, *args, **kwargs)
        except (StorageFull, Unavailable):
            metrics.storage_errors.add(driver.name, call.__name__)
            raise
        finally:
            metrics.storage_seconds.observe(time.perf_counter() - started, driver.name, call.__name__)

    return counted
