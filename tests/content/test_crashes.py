"""What a process leaves that died in the middle of a finish or of a whole body on object storage, and who takes it back.

The death itself is tests/backends/; here its remains are laid out by hand, and the driver fails where it is told to.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from cargohold.auth.identity import ANYONE
from cargohold.content import blobs, sessions, sweeper, uploads
from cargohold.content.queries import uploads as rows
from cargohold.content.queries.uploads import Session
from cargohold.content.store import Store, utc_now
from cargohold.db.tables.uploads import DEAD, DONE, FINISHING
from cargohold.errors import DigestInvalid, Unavailable, UploadUnknown
from cargohold.http.call import ClientGone
from cargohold.names import Digest
from cargohold.storage import keys
from cargohold.storage.driver import Small
from cargohold.storage.drivers.s3.driver import S3Driver
from tests.content.conftest import on_s3
from tests.content.shop import REPO, Pieces, in_pieces, noise, push_blob, start, stored

LATER = timedelta(days=8)
WEEK = 7 * 24 * 3600.0


async def of_dead_owner(store: Store, data: bytes) -> tuple[Session, str]:
    """A session whose owner died when it had noted its multipart upload; that upload's id."""
    session = await uploads.append(store, await sessions.find(store, ANYONE, REPO, await start(store)), in_pieces(data))
    taken = await store.db.write(rows.take, session.id, len(data), utc_now(), utc_now() - timedelta(seconds=1))
    assert taken is not None
    assert isinstance(store.driver, S3Driver)
    handle = await store.driver.control.create(keys.blob(Digest.of(data)))
    await store.db.write(rows.remember, session.id, taken.fence, f"{keys.blob(Digest.of(data))} {handle}")
    return await sessions.find(store, ANYONE, REPO, session.id), handle


async def is_gone(store: Store, data: bytes, handle: str) -> bool:
    """The store knows that multipart upload no more."""
    assert isinstance(store.driver, S3Driver)
    with pytest.raises(Unavailable):
        await store.driver.control.part(keys.blob(Digest.of(data)), handle, 1, b"late")
    return True


@on_s3
async def test_next_owner_undoes_what_the_dead_one_began(store: Store, second: Store) -> None:
    data = noise(store, 2, 5)
    session, handle = await of_dead_owner(store, data)
    assert session.state == FINISHING
    await uploads.finish(second, ANYONE, session, Digest.of(data), "request")
    assert await is_gone(store, data, handle)
    assert await stored(store, keys.blob(Digest.of(data))) == data


@on_s3
async def test_more_bytes_after_a_half_done_finish(store: Store) -> None:
    data, more = noise(store, 1, 5), noise(store, 1)
    session, handle = await of_dead_owner(store, data)
    session = await uploads.append(store, session, in_pieces(more))
    assert await is_gone(store, data, handle)
    assert (await sessions.find(store, ANYONE, REPO, session.id)).handle == ""
    await uploads.finish(store, ANYONE, session, Digest.of(data + more), "request")


@on_s3
async def test_sweeper_undoes_what_nobody_comes_back_for(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    data = noise(store, 1, 5)
    session, handle = await of_dead_owner(store, data)
    now = utc_now()
    monkeypatch.setattr(sweeper, "utc_now", lambda: now + LATER)
    assert await sweeper.sweep(store, WEEK) == 1
    assert await is_gone(store, data, handle)
    assert [entry async for entry in store.driver.list(keys.staging(session.id))] == []


async def test_bytes_that_cannot_be_removed_now_are_not_forgotten(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    upload = await start(store)
    await uploads.append(store, await sessions.find(store, ANYONE, REPO, upload), in_pieces(noise(store, 1)))

    async def away(*args: object) -> None:
        raise Unavailable

    with monkeypatch.context() as patch:
        patch.setattr(store.driver, "unstage", away)
        await sessions.cancel(store, ANYONE, REPO, upload)
        with pytest.raises(UploadUnknown):
            await sessions.find(store, ANYONE, REPO, upload)
        assert await sweeper.sweep(store, WEEK) == 0
    dead = await rows.session(store.db.now, upload)
    assert dead is not None and dead.state == DEAD
    now = utc_now()
    monkeypatch.setattr(sweeper, "utc_now", lambda: now + sweeper.KEEP_DONE * 2)
    assert await sweeper.sweep(store, WEEK) == 1
    assert await rows.session(store.db.now, upload) is None
    assert [entry async for entry in store.driver.list(keys.staging(upload))] == []


async def test_finish_that_fails_may_be_repeated_at_once(store: Store, second: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    data = noise(store, 1, 5)
    session = await uploads.append(store, await sessions.find(store, ANYONE, REPO, await start(store)), in_pieces(data))

    async def away(*args: object, **named: object) -> None:
        raise Unavailable

    with monkeypatch.context() as patch:
        patch.setattr(store.driver, "assemble", away)
        with pytest.raises(Unavailable):
            await uploads.finish(store, ANYONE, session, Digest.of(data), "request")
    monkeypatch.setattr(sessions, "_PATIENCE", 0.0)
    await uploads.finish(second, ANYONE, await sessions.find(second, ANYONE, REPO, session.id), Digest.of(data), "request")
    assert await stored(second, keys.blob(Digest.of(data))) == data


async def test_busy_session_asks_for_patience(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    session = await sessions.find(store, ANYONE, REPO, await start(store))
    monkeypatch.setattr(sessions, "_PATIENCE", 0.0)
    async with sessions.owned(store, session):
        with pytest.raises(Unavailable) as caught:
            await uploads.append(store, session, in_pieces(noise(store, 1)))
        assert caught.value.retry_after > 0
        with pytest.raises(Unavailable):
            await uploads.whole(store, ANYONE, REPO, Digest.of(b"x"), in_pieces(noise(store, 1)), "request", session)


async def test_lease_is_renewed_as_long_as_its_owner_works(store: Store, second: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "OWNED", timedelta(seconds=0.2))
    monkeypatch.setattr(sessions, "_PATIENCE", 0.6)
    session = await sessions.find(store, ANYONE, REPO, await start(store))
    async with sessions.owned(store, session):
        with pytest.raises(Unavailable):
            async with sessions.owned(store, session):
                raise AssertionError("two owners")
    monkeypatch.setattr(sessions, "_PATIENCE", 2.0)
    async with sessions.owned(store, session, renew=False), sessions.owned(second, session):
        """The first one's time was over."""


async def test_finish_by_two_at_once_is_done_once(store: Store, second: Store) -> None:
    """A client whose PUT was cut by a proxy sends it again while the first one still works."""
    data = noise(store, 2, 5)
    session = await uploads.append(store, await sessions.find(store, ANYONE, REPO, await start(store)), in_pieces(data))
    other = await sessions.find(second, ANYONE, REPO, session.id)
    await asyncio.gather(
        uploads.finish(store, ANYONE, session, Digest.of(data), "one"),
        uploads.finish(second, ANYONE, other, Digest.of(data), "two"),
    )
    done = await sessions.find(store, ANYONE, REPO, session.id)
    assert (done.state, done.digest) == (DONE, Digest.of(data))
    assert await stored(store, keys.blob(Digest.of(data))) == data


@on_s3
async def test_whole_body_that_fails_leaves_no_session(store: Store) -> None:
    with pytest.raises(DigestInvalid):
        await uploads.whole(store, ANYONE, REPO, Digest.of(b"other"), in_pieces(noise(store, 2)), "request")
    with pytest.raises(ClientGone):
        await uploads.whole(store, ANYONE, REPO, Digest.of(b"other"), Pieces([noise(store, 1), noise(store, 1)], cut=True), "request")
    await store.settle()
    assert await rows.idle_sessions(store.db.now, utc_now() + LATER, utc_now() + LATER, "", 10) == []
    assert await rows.ended_sessions(store.db.now, utc_now() + LATER, "", 10) == []


@on_s3
async def test_object_of_another_size_is_stored_again(store: Store) -> None:
    """Size is what object storage tells at once; other bytes of the same size are for fsck."""
    digest = await push_blob(store, b"good bytes")
    await store.driver.put([Small(keys.blob(digest), b"bad")])
    blob = await blobs.find(store, REPO, digest)
    assert not await store.has_bytes(blob)
    await push_blob(store, b"good bytes")
    assert await stored(store, keys.blob(digest)) == b"good bytes"
