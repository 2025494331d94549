"""Housekeeping of one worker: uploads that ended or that nobody comes back for, the cap of open uploads, the journal's cursor.

A turn is short and bounded; two sweepers on one database do no harm (every step may be repeated). Nothing here lists a bucket.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

from cargohold.content import journal, sessions
from cargohold.content.queries import uploads as rows
from cargohold.content.queries.uploads import Session
from cargohold.content.store import Store, utc_now
from cargohold.errors import CargoholdError
from cargohold.telemetry import log, metrics

EVERY = 60.0
KEEP_DONE = timedelta(minutes=10)
_PAGE = 200
_FAILURES = 3


async def run(store: Store, expiry: float) -> None:
    """Turns until it is cancelled; a turn that fails is logged, and the next one comes."""
    mark = 0
    while True:
        try:
            await sweep(store, expiry)
            mark = await journal.settle(store, mark)
        except CargoholdError as error:
            log.warning("sweep failed", why=str(error))
        await asyncio.sleep(EVERY)


async def sweep(store: Store, expiry: float) -> int:
    """Uploads dropped in this turn. One that cannot be dropped now stays for the next turn; after some of these the turn ends."""
    now = utc_now()
    dropped = await _drop_all(store, lambda after: rows.ended_sessions(store.db.now, now - KEEP_DONE, after, _PAGE))
    before = now - timedelta(seconds=expiry)
    dropped += await _drop_all(store, lambda after: rows.idle_sessions(store.db.now, before, now, after, _PAGE))
    cap = store.limits.uploads
    count = await rows.open_count(store.db.now, cap)
    metrics.uploads_open.set(count)
    store.uploads_full = count >= cap
    return dropped


async def _drop_all(store: Store, page: Callable[[str], Awaitable[list[Session]]]) -> int:
    after, dropped, failed = "", 0, 0
    while found := await page(after):
        for session in found:
            try:
                await sessions.discard(store, session)
                dropped += 1
            except CargoholdError as error:
                failed += 1
                log.warning("an upload cannot be swept now", upload=session.id, why=str(error))
                if failed == _FAILURES:
                    return dropped
        after = found[-1].id
    return dropped
