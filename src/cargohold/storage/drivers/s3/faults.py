"""What a bucket's refusals mean: which are tried again, what the caller is told, and when we stop asking for a while.

    refusal --retryable--> again, up to 4 tries in 30 s --still--> Unavailable (503, never 500)
            --full-------> StorageFull (507)
            --else-------> Unavailable, with one log line that names operation, key and code (never a secret)

Pure: objects.py (obstore) and control.py (boto3) turn their library's exceptions into `Refused`.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TypeVar

from cargohold.errors import CargoholdError, StorageFull, Unavailable
from cargohold.telemetry.logs import log

T = TypeVar("T")

TRIES, PATIENCE = 4, 30.0
_FULL = frozenset({"QuotaExceeded", "EntityTooLarge", "InsufficientStorage", "StorageFull", "XMinioStorageFull", "TooManyBuckets"})
_PASSING = frozenset({"RequestTimeout", "OperationAborted", "SlowDown", "InternalError", "ServiceUnavailable", "ExpiredToken"})
_PASSING_STATUS = frozenset({0, 408, 429, 500, 502, 503, 504})
_WINDOW, _FAILURES, _PAUSE = 10.0, 5, 5.0


class Refused(Exception):
    """A request that the bucket did not do. `status` is 0 when no answer came; `code` is S3's word for it, or empty."""

    def __init__(self, status: int, code: str, text: str) -> None:
        super().__init__(text)
        self.status, self.code = status, code

    @property
    def passing(self) -> bool:
        return self.code in _PASSING or (self.status in _PASSING_STATUS and self.code not in _FULL)

    @property
    def missing(self) -> bool:
        return self.code in ("NoSuchKey", "NoSuchUpload", "NotFound") or (self.status == 404 and self.code == "")

    def told(self, operation: str, key: str) -> CargoholdError:
        """The error for the caller; logs what the operator needs."""
        log.warning("the object store refused", operation=operation, key=key, status=self.status, code=self.code, text=str(self)[:300])
        if self.code in _FULL or self.status == 507:
            return StorageFull()
        return Unavailable(f"The object store refuses this ({self.code or self.status or 'no answer'}).")


class Breaker:
    """Five failures within 10 s: for 5 s new work gets Unavailable at once instead of holding its buffers through retries."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures: deque[float] = deque(maxlen=_FAILURES)
        self._until = 0.0

    def admit(self) -> None:
        left = self._until - self._clock()
        if left > 0:
            raise Unavailable("The object store does not answer.", retry_after=max(1, round(left)))

    def failed(self) -> None:
        now = self._clock()
        self._failures.append(now)
        if len(self._failures) == _FAILURES and now - self._failures[0] <= _WINDOW:
            self._until = now + _PAUSE

    def worked(self) -> None:
        self._failures.clear()
        self._until = 0.0


class Budget:
    """Bytes that bodies on their way out may hold in this process; who asks for more than is left waits."""

    def __init__(self, limit: int) -> None:
        self._limit, self._used = limit, 0
        self._freed = asyncio.Condition()

    async def take(self, size: int) -> int:
        """What to give back; a single body over the whole budget passes alone."""
        size = min(size, self._limit)
        async with self._freed:
            await self._freed.wait_for(lambda: self._used + size <= self._limit)
            self._used += size
        return size

    async def give(self, size: int) -> None:
        async with self._freed:
            self._used -= size
            self._freed.notify_all()


async def persevere(
    work: Callable[[], Awaitable[T]],
    operation: str,
    key: str,
    breaker: Breaker,
    *,
    may_miss: bool = False,
    again: Callable[[Refused], bool] | None = None,
) -> T:
    """Runs `work` until it is done, or refused in a way that `again` (default: `passing`) does not hope to pass.

    Raises StorageFull or Unavailable; with `may_miss` a refusal that says "missing" goes on as it is.
    """
    started = time.monotonic()
    for left in reversed(range(TRIES)):
        try:
            done = await work()
        except Refused as refused:
            if may_miss and refused.missing:
                breaker.worked()
                raise
            hopeful = again(refused) if again else refused.passing
            if not left or not hopeful or time.monotonic() - started > PATIENCE:
                if refused.passing:
                    breaker.failed()
                raise refused.told(operation, key) from refused
            await asyncio.sleep(0.2 * 2 ** (TRIES - 1 - left) * (0.5 + random.random()))  # noqa: S311  # jitter is no secret
        else:
            breaker.worked()
            return done
    raise AssertionError("the last try returns or raises")
