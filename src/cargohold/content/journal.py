"""The outbox read as a journal of the tree: after a crash, links are made to say what the rows say.

A change commits first and is mirrored into the tree before its answer (content/tree.py). Who dies in between leaves a row
without its link, or a link without its row. So at start one worker walks the events behind the cursor (`meta`: tree_cursor)
and mirrors each of them again; while running it moves the cursor to where the outbox ended at its last turn but one, when
every request of that time has long been answered.

A mirror that fails (the bucket is away, the disk is full) notes so in `meta` (tree_behind): the next turn walks the same events
again before it moves the cursor.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import msgspec

from cargohold.content.queries import journal as rows
from cargohold.content.queries.journal import Entry
from cargohold.content.store import Store, utc_now
from cargohold.content.tree import BEHIND, mirror_history, mirror_layer, mirror_revision, mirror_tag
from cargohold.errors import CargoholdError
from cargohold.events import BlobDeleted, BlobMounted, BlobPushed, ManifestDeleted, ManifestPushed, TagDeleted

CURSOR = "tree_cursor"
KEPT = timedelta(days=30)
_PAGE = 200
_FEW = 5_000
"""Events that a stop may take the time to mirror again; behind more of them the next start goes on."""
_Event = BlobPushed | BlobMounted | BlobDeleted | ManifestPushed | ManifestDeleted | TagDeleted
_decode = msgspec.json.Decoder(_Event, dec_hook=lambda kind, text: kind(text)).decode


async def replay(store: Store) -> int:
    """Mirror all that lies behind the cursor, and move it; the number of events seen."""
    seen = 0
    async for entries in _behind(store):
        seen += len(entries)
        await _links_on_disk(store)
        await store.db.note(rows.set_meta, CURSOR, str(entries[-1].id))
    return seen


async def settle(store: Store, upto: int) -> int:
    """Mend what failed, then move the cursor to `upto`; returns where the outbox ends now, the `upto` of the next turn."""
    if await rows.get_meta(store.db.now, BEHIND) is not None:
        await store.db.write(rows.clear_meta, BEHIND)
        try:
            async for _ in _behind(store):
                """Requests that still run have events here too, so the cursor stays."""
        except CargoholdError:
            await store.db.write(rows.set_meta, BEHIND, "again")
            raise
    if upto > await _cursor(store):
        await _links_on_disk(store)
        await store.db.note(rows.set_meta, CURSOR, str(upto))
    return await newest(store)


async def prune(store: Store) -> None:
    """Drop what the tree no longer needs and nobody may still want to read: events behind the cursor, after KEPT."""
    cursor, before = await _cursor(store), utc_now() - KEPT
    while await store.db.note(rows.prune_events, cursor, before):
        """A thousand in a turn, so that pushes get theirs."""


async def fall_behind(store: Store) -> None:
    """The next turn of `settle` mirrors again all that is behind the cursor."""
    await store.db.note(rows.set_meta, BEHIND, "again")


async def close(store: Store) -> None:
    """After the last worker has left: what registry:2 changes in the tree from now on is not undone by our next start."""
    mark = await newest(store)
    if mark - await _cursor(store) <= _FEW:
        await replay(store)


async def _links_on_disk(store: Store) -> None:
    """Before the cursor leaves them behind: a link that is not synced with its push is redone from its event until then."""
    if store.barrier is not None:
        await store.barrier.barrier()


async def newest(store: Store) -> int:
    """Where the outbox ends; also the cheapest question that shows whether the database answers."""
    return await rows.newest_event(store.db.now)


async def _behind(store: Store) -> AsyncIterator[list[Entry]]:
    """Pages of events behind the cursor, each mirrored before it is given."""
    cursor = await _cursor(store)
    while entries := await rows.events_after(store.db.now, cursor, _PAGE):
        for entry in entries:
            await _mirror(store, entry)
        yield entries
        cursor = entries[-1].id


async def _cursor(store: Store) -> int:
    return int(await rows.get_meta(store.db.now, CURSOR) or 0)


async def _mirror(store: Store, entry: Entry) -> None:
    try:
        event = _decode(entry.body)
    except msgspec.ValidationError:
        return  # an event of a kind that touches no link
    match event:
        case BlobPushed() | BlobMounted() | BlobDeleted():
            await mirror_layer(store, event.repository, event.digest)
        case ManifestPushed():
            await mirror_revision(store, event.repository, event.digest)
            if event.tag is not None:
                await mirror_history(store, event.repository, event.tag, event.digest)
                await mirror_tag(store, event.repository, event.tag)
        case ManifestDeleted():
            await mirror_revision(store, event.repository, event.digest)
            for tag in event.tags:
                await mirror_tag(store, event.repository, tag)
        case TagDeleted():
            await mirror_tag(store, event.repository, event.tag)
