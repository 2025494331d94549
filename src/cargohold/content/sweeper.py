"""Housekeeping of one worker: uploads that ended or that nobody comes back for, the cap of open uploads, the journal's cursor.

A turn is short and bounded; two sweepers on one database do no harm (every step may be repeated). Nothing here lists a bucket.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta

from cargohold.content import journal, sessions
from cargohold.content.queries import uploads as rows
from cargohold.content.store import Store, utc_now
from cargohold.errors import CargoholdError
from cargohold.telemetry import log, metrics

EVERY = 60.0
KEEP_DONE = timedelta(minutes=10)
_PAGE = 200


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
    """Uploads dropped in this turn."""
    now = utc_now()
    dropped, after = 0, ""
    while found := await rows.done_sessions(store.db.now, now - KEEP_DONE, after, _PAGE):
        for session in found:
            await sessions.discard(store, session)
        dropped, after = dropped + len(found), found[-1].id
    after = ""
    while found := await rows.idle_sessions(store.db.now, now - timedelta(seconds=expiry), now, after, _PAGE):
        for session in found:
            await sessions.discard(store, session)
        dropped, after = dropped + len(found), found[-1].id
    cap = store.limits.uploads
    count = await rows.open_count(store.db.now, cap)
    metrics.uploads_open.set(count)
    store.uploads_full = count >= cap
    return dropped
