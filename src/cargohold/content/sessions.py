"""Upload sessions: bytes on their way to becoming a blob (OCI end-4 to end-6, end-13).

    open --append--> open --finish--> done          (done answers a repeated PUT for ten minutes, then it is swept)
      |                |--bad digest--> open        nothing is lost: the client may send the right digest
      |                `--assembling--> finishing --> done, or back to open by the next owner, who undoes what was begun
      `--cancel or expiry--> dead --bytes removed--> (gone)

Invariants
- `size` is what is durable: staged segments, then up to TAIL bytes in the row. It never runs ahead of the disk.
- A session answers only to the principal and the repository that opened it; to all others it does not exist.
- Who appends or finishes holds the lease under a fence number. The lease ends by itself when its owner dies; a write under an
  older fence changes no row, so an owner that slept through its lease does no harm.

Callers: registry/uploads.py, content/uploads.py, content/sweeper.py.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from math import ceil

from cargohold.auth.identity import Actor
from cargohold.content.hashing import EMPTY_SHA256
from cargohold.content.queries import uploads as rows
from cargohold.content.queries.uploads import Session, Taken
from cargohold.content.store import Store, utc_now
from cargohold.db.tables.uploads import DEAD, DONE, FINISHING
from cargohold.errors import CargoholdError, StorageFull, TooManyRequests, Unavailable, UploadRangeInvalid, UploadUnknown
from cargohold.names import RepoName, UploadId
from cargohold.telemetry import log

TAIL = 256 * 1024
"""Bytes that stay in the row: configs, signatures and small layers never touch a staging file."""

OWNED = timedelta(seconds=6)
"""How long a lease lasts; its owner renews it after a quarter of that. So long a client waits at most after its server died."""

_PATIENCE = 8.0
_POLL = 0.1


def new_id() -> UploadId:
    return UploadId(uuid.uuid4())


async def admit(store: Store, actor: Actor, repository: RepoName) -> None:
    """May another blob come in? Asked before its first byte is read."""
    for gate in store.gates.before_push:
        await gate(actor, repository, None)
    if store.uploads_full:
        raise TooManyRequests("too many uploads are open", retry_after=60, limit=store.limits.uploads)


async def start(store: Store, actor: Actor, repository: RepoName) -> UploadId:
    await admit(store, actor, repository)
    upload = new_id()
    await store.db.note(rows.open_session, upload, repository, actor.principal, EMPTY_SHA256, utc_now())
    return upload


async def find(store: Store, actor: Actor, repository: RepoName, upload: UploadId) -> Session:
    """The session in whatever state but dead; raises UploadUnknown for what is not this actor's in this repository."""
    session = await rows.session(store.db.now, upload)
    if session is None or session.repository != repository or session.principal != actor.principal or session.state == DEAD:
        raise UploadUnknown(upload=upload)
    return session


async def find_open(store: Store, actor: Actor, repository: RepoName, upload: UploadId) -> Session:
    session = await find(store, actor, repository, upload)
    if session.state == DONE:
        raise UploadUnknown(upload=upload)
    return session


@asynccontextmanager
async def owned(store: Store, session: Session, *, renew: bool = True) -> AsyncIterator[int]:
    """Own the session, under the fence that this gives, for one step; an error in the block lets go of it.

    `renew`: as long as the block runs, however long that is. Without, the block renews while bytes come, so that a client that
    comes back is not kept out by its own dead connection.
    """
    fence = await _take(store, session)
    over = asyncio.Event()
    keeper = asyncio.create_task(_renew_until(store, session.id, fence, over)) if renew else None
    try:
        yield fence
    except BaseException:
        over.set()
        await asyncio.shield(_release(store, session.id, fence))
        raise
    finally:
        over.set()
        if keeper is not None:
            await asyncio.gather(keeper, return_exceptions=True)


async def _take(store: Store, session: Session) -> int:
    """The fence under which the caller now owns the session. Waits for an owner that lets go, or is dead and cannot."""
    deadline = asyncio.get_running_loop().time() + _PATIENCE
    while True:
        now = utc_now()
        taken = await store.db.note(rows.take, session.id, session.size, now, now + OWNED)
        if taken is not None:
            if taken.handle:
                await _undo(store, session, taken)
            return taken.fence
        held = True
        while held:
            current = await rows.session(store.db.now, session.id)
            if current is None or current.state >= DONE or current.size != session.size:
                raise _moved(session.id, current)
            if asyncio.get_running_loop().time() > deadline:
                raise Unavailable("Another request is adding to this upload.", retry_after=ceil(OWNED.total_seconds()), upload=session.id)
            held = current.lease_until > utc_now()
            if held:
                await asyncio.sleep(_POLL)


async def _undo(store: Store, session: Session, taken: Taken) -> None:
    """An owner died between the first and the last byte of the final object: what it left is invisible, and goes now."""
    try:
        await store.driver.abandon(taken.handle)
        await store.db.note(rows.undone, session.id, taken.fence)
    except BaseException:
        await asyncio.shield(_release(store, session.id, taken.fence))
        raise


async def _renew_until(store: Store, upload: UploadId, fence: int, over: asyncio.Event) -> None:
    """A lease that could not be renewed is no error: the fence decides at the next change of the row."""
    while True:
        try:
            async with asyncio.timeout(OWNED.total_seconds() / 4):
                await over.wait()
        except TimeoutError:
            with suppress(CargoholdError):
                await renew(store, upload, fence)
        else:
            return


async def renew(store: Store, upload: UploadId, fence: int) -> bool:
    now = utc_now()
    return bool(await store.db.note(rows.renew, upload, fence, now, now + OWNED))


async def _release(store: Store, upload: UploadId, fence: int) -> None:
    """Best effort: a lease that stays ends by itself, and the error that led here is what the caller must hear."""
    now = utc_now()
    with suppress(CargoholdError):
        await store.db.note(rows.renew, upload, fence, now, now)


async def lost(store: Store, upload: UploadId) -> CargoholdError:
    """What to raise when a fence was gone: where the session stands now, or that it is no more."""
    return _moved(upload, await rows.session(store.db.now, upload))


def _moved(upload: UploadId, current: Session | None) -> CargoholdError:
    if current is None or current.state >= DONE:
        return UploadUnknown(upload=upload)
    return UploadRangeInvalid(offset=current.size)


async def cancel(store: Store, actor: Actor, repository: RepoName, upload: UploadId) -> None:
    session = await find_open(store, actor, repository, upload)
    handle = await _bury(store, session)
    try:
        await _clear(store, session, handle)
    except CargoholdError as error:
        log.warning("an upload's bytes are left for the sweeper", upload=upload, why=str(error))


async def _bury(store: Store, session: Session) -> str | None:
    """What `abandon` needs. On a full disk the row itself cannot change: then the bytes go first, and make the room for it."""
    try:
        return await store.db.note(rows.bury, session.id, utc_now())
    except StorageFull:
        await store.driver.unstage(session.id)
        return await store.db.note(rows.bury, session.id, utc_now())


async def discard(store: Store, session: Session) -> None:
    """Dead first: who still appends finds its fence gone. The row goes last, so that bytes that cannot be removed now are not forgotten."""
    handle: str | None = session.handle
    if session.state <= FINISHING:
        handle = await _bury(store, session)
    await _clear(store, session, handle)


async def _clear(store: Store, session: Session, handle: str | None) -> None:
    store.hashes.drop(session.id)
    if handle:
        await store.driver.abandon(handle)
    if session.state != DONE or session.size > TAIL or not store.driver.records:
        await store.driver.unstage(session.id)
    await store.db.note(rows.drop, session.id)
