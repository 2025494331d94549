"""Upload sessions: bytes on their way to becoming a blob (OCI end-4 to end-6, end-13).

    open --append--> open --finish--> done          (done answers a repeated PUT for ten minutes, then it is swept)
      |                |--bad digest--> open        nothing is lost: the client may send the right digest
      |                `--assembling--> finishing --> done, or back to open by the next owner
      `--cancel or expiry--> (gone)

Invariants
- `size` is what is durable: staged segments, then up to TAIL bytes in the row. It never runs ahead of the disk.
- A session answers only to the principal and the repository that opened it; to all others it does not exist.
- Who appends holds the lease under a fence number. The lease ends by itself when its owner dies; a write under an older
  fence changes no row, and its owner stops before the lease is over.

Callers: registry/uploads.py, content/uploads.py, content/sweeper.py.
"""

from __future__ import annotations

import asyncio
import uuid
from datetime import timedelta

from cargohold.auth.identity import Actor
from cargohold.content.hashing import EMPTY_SHA256
from cargohold.content.queries import uploads as rows
from cargohold.content.queries.uploads import Session
from cargohold.content.store import Store, utc_now
from cargohold.db.tables.uploads import DEAD, DONE
from cargohold.errors import TooManyRequests, UploadRangeInvalid, UploadUnknown
from cargohold.names import RepoName, UploadId

TAIL = 256 * 1024
"""Bytes that stay in the row: configs, signatures and small layers never touch a staging file."""

OWNED = timedelta(seconds=60)
"""How long a lease lasts; its owner renews it after a quarter of that."""

_PATIENCE = 5.0
_POLL = 0.05


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


async def take(store: Store, session: Session) -> int:
    """The fence under which the caller now owns the session. Waits a little for an owner that is about to let go."""
    deadline = asyncio.get_running_loop().time() + _PATIENCE
    while True:
        now = utc_now()
        fence = await store.db.note(rows.take, session.id, session.size, now, now + OWNED)
        if fence is not None:
            return fence
        current = await rows.session(store.db.now, session.id)
        if current is None or current.state in (DONE, DEAD):
            raise UploadUnknown(upload=session.id)
        if current.size != session.size or asyncio.get_running_loop().time() > deadline:
            raise UploadRangeInvalid(offset=current.size)
        await asyncio.sleep(_POLL)


async def cancel(store: Store, actor: Actor, repository: RepoName, upload: UploadId) -> None:
    session = await find_open(store, actor, repository, upload)
    await discard(store, session)


async def discard(store: Store, session: Session) -> None:
    """Row first: who still appends finds its fence gone, then the bytes go."""
    await store.db.note(rows.drop, session.id)
    if session.handle:
        await store.driver.abandon(session.handle)
    await store.driver.unstage(session.id)
