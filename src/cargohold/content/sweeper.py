"""Housekeeping of one worker: uploads that ended or that nobody comes back for, the cap of open uploads, the journal's cursor.

A turn is short and bounded; two sweepers on one database do no harm (every step may be repeated). Nothing here lists a bucket.
One worker sweeps and counts; all of them learn from `meta` (uploads_full) whether another upload may begin (`look`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

from cargohold.content import journal, sessions
from cargohold.content.queries import journal as notes
from cargohold.content.queries import uploads as rows
from cargohold.content.queries.uploads import Session
from cargohold.content.store import Store, utc_now
from cargohold.errors import CargoholdError
from cargohold.telemetry import log, metrics

EVERY = 60.0
KEEP_DONE = timedelta(minutes=10)
_PAGE = 200
_FAILURES = 3
FULL = "uploads_full"
"""Key in `meta`: there while so many uploads are open that no other may begin."""


async def run(store: Store, expiry: float) -> None:
    """Turns until it is cancelled; a turn that fails is logged, and the next one comes."""
    mark = 0
    while True:
        try:
            await sweep(store, expiry)
            mark = await journal.settle(store, mark)
            await journal.prune(store)
        except CargoholdError as error:
            log.warning("sweep failed", why=str(error))
        except Exception as error:  # a bug must not end the housekeeping of this server without a word
            log.error("sweep failed", exc_info=error)
        await asyncio.sleep(EVERY)


async def sweep(store: Store, expiry: float) -> int:
    """Uploads dropped in this turn. One that cannot be dropped now stays for the next turn; after some of these the turn ends.

    The questions pass over every open upload, which takes longer than a read in the loop may: they go through `db.read`.
    """
    now = utc_now()
    dropped = await _drop_all(store, lambda after: store.db.read(rows.ended_sessions, now - KEEP_DONE, after, _PAGE))
    before = now - timedelta(seconds=expiry)
    dropped += await _drop_all(store, lambda after: store.db.read(rows.idle_sessions, before, now, after, _PAGE))
    cap = store.limits.uploads
    count = await store.db.read(rows.open_count, cap)
    metrics.uploads_open.set(count)
    full = count >= cap
    if full != (await notes.get_meta(store.db.now, FULL) is not None):
        await (store.db.note(notes.set_meta, FULL, "full") if full else store.db.note(notes.clear_meta, FULL))
    return dropped


async def look(store: Store) -> None:
    """What the sweeper, on whatever worker it runs, has found out about the cap."""
    store.uploads_full = await notes.get_meta(store.db.now, FULL) is not None


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
