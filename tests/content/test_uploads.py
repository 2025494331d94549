"""Uploads: every way into the store, on one worker and over two, with clients that vanish and owners that lose their lease."""

from __future__ import annotations

import hashlib
import os
from datetime import timedelta

import msgspec
import pytest

from cargohold.auth.identity import ANYONE, Actor, Kind
from cargohold.content import blobs, sessions, uploads
from cargohold.content.queries import uploads as rows
from cargohold.content.sessions import TAIL
from cargohold.content.store import Store, utc_now
from cargohold.content.writer import Writer
from cargohold.errors import BlobUnknown, CargoholdError, DigestInvalid, StorageFull, UploadRangeInvalid, UploadUnknown
from cargohold.http.call import ClientGone
from cargohold.names import Digest
from cargohold.storage import keys
from tests.content.conftest import on_engines
from tests.content.shop import OTHER, REPO, Pieces, in_pieces, noise, push_blob, start, stored

SIZES = [(0, 0), (0, 1), (0, 1000), (0, TAIL), (0, TAIL + 1), (1, -1), (1, 0), (1, 1), (1, TAIL + 1), (2, 0), (3, 17)]
"""Whole segments of the driver, and bytes beside them."""


@pytest.mark.parametrize(("segments", "more"), SIZES)
async def test_patch_then_put_makes_the_blob(store: Store, segments: int, more: int) -> None:
    data = noise(store, segments, more)
    session = await sessions.find(store, ANYONE, REPO, await start(store))
    session = await uploads.append(store, session, in_pieces(data))
    assert session.size == len(data)
    await uploads.finish(store, ANYONE, session, Digest.of(data), "request")
    blob = await store.blob(REPO, Digest.of(data))
    assert blob is not None
    assert blob.size == len(data)
    assert await stored(store, keys.blob(blob.digest)) == data
    assert await stored(store, keys.layer(REPO, blob.digest)) == blob.digest.encode()


@pytest.mark.parametrize(("segments", "more"), SIZES)
async def test_whole_body_makes_the_blob(store: Store, segments: int, more: int) -> None:
    data = noise(store, segments, more)
    assert await stored(store, keys.blob(await push_blob(store, data))) == data


@pytest.mark.parametrize("segments", [0, 1, 3])
async def test_whole_body_with_other_bytes_leaves_nothing(store: Store, segments: int) -> None:
    digest = Digest.of(b"something else")
    with pytest.raises(DigestInvalid):
        await uploads.whole(store, ANYONE, REPO, digest, in_pieces(noise(store, segments, 1000)), "request")
    assert await store.blob(REPO, digest) is None
    assert await store.driver.head(keys.blob(digest)) is None
    assert await store.driver.head(keys.layer(REPO, digest)) is None


async def test_many_pieces_over_two_workers(store: Store, second: Store) -> None:
    """Small and large PATCHes alternate between workers; neither has the other's hash state."""
    parts = [noise(store, *size) for size in ((0, 10), (2, 0), (0, 3), (0, TAIL), (1, 1), (0, 0), (0, TAIL + 9), (0, 5))]
    upload = await start(store)
    for number, part in enumerate(parts):
        worker = (store, second)[number % 2]
        await uploads.append(worker, await sessions.find(worker, ANYONE, REPO, upload), in_pieces(part))
    data = b"".join(parts)
    session = await sessions.find(second, ANYONE, REPO, upload)
    assert session.size == len(data)
    await uploads.finish(second, ANYONE, session, Digest.of(data), "request")
    assert await stored(store, keys.blob(Digest.of(data))) == data


async def test_sha512_keeps_its_own_name(store: Store) -> None:
    data = noise(store, 2)
    digest = Digest(f"sha512:{hashlib.sha512(data).hexdigest()}")
    session = await uploads.append(store, await sessions.find(store, ANYONE, REPO, await start(store)), in_pieces(data))
    await uploads.finish(store, ANYONE, session, digest, "request")
    assert await stored(store, keys.blob(digest)) == data


@pytest.mark.parametrize("segments", [0, 2])
async def test_wrong_digest_leaves_the_session_open(store: Store, segments: int) -> None:
    data = noise(store, segments, 100)
    upload = await start(store)
    session = await uploads.append(store, await sessions.find(store, ANYONE, REPO, upload), in_pieces(data))
    with pytest.raises(DigestInvalid) as caught:
        await uploads.finish(store, ANYONE, session, Digest.of(b"x"), "request")
    assert caught.value.facts["received"] == Digest.of(data)
    await uploads.finish(store, ANYONE, await sessions.find_open(store, ANYONE, REPO, upload), Digest.of(data), "request")
    assert await store.blob(REPO, Digest.of(data))


async def test_put_may_be_repeated_for_the_same_digest(store: Store) -> None:
    upload = await start(store)
    session = await uploads.append(store, await sessions.find(store, ANYONE, REPO, upload), in_pieces(b"abc"))
    await uploads.finish(store, ANYONE, session, Digest.of(b"abc"), "request")
    await uploads.finish(store, ANYONE, await sessions.find(store, ANYONE, REPO, upload), Digest.of(b"abc"), "request")
    with pytest.raises(UploadUnknown):
        await uploads.finish(store, ANYONE, await sessions.find(store, ANYONE, REPO, upload), Digest.of(b"other"), "request")
    with pytest.raises(UploadUnknown):
        await sessions.find_open(store, ANYONE, REPO, upload)


@pytest.mark.parametrize(("segments", "more"), [(0, 1000), (1, 0), (2, 5)])
async def test_client_that_vanishes_can_go_on(store: Store, second: Store, segments: int, more: int) -> None:
    data = noise(store, segments, more)
    upload = await start(store)
    first = data[: len(data) // 2]
    with pytest.raises(ClientGone):
        await uploads.append(store, await sessions.find(store, ANYONE, REPO, upload), Pieces([first], cut=True))
    session = await sessions.find(second, ANYONE, REPO, upload)
    assert session.size == len(first)
    session = await uploads.append(second, session, in_pieces(data[len(first) :]))
    await uploads.finish(second, ANYONE, session, Digest.of(data), "request")
    assert await stored(store, keys.blob(Digest.of(data))) == data


async def test_session_is_nobody_elses(store: Store) -> None:
    upload = await start(store)
    stranger = Actor(kind=Kind.USER, name="bob", everything=True)
    for actor, repository in ((stranger, REPO), (ANYONE, OTHER)):
        with pytest.raises(UploadUnknown):
            await sessions.find(store, actor, repository, upload)
        with pytest.raises(UploadUnknown):
            await sessions.cancel(store, actor, repository, upload)
    await sessions.find(store, ANYONE, REPO, upload)


async def test_stale_view_of_the_offset_writes_nothing(store: Store) -> None:
    stale = await sessions.find(store, ANYONE, REPO, await start(store))
    await uploads.append(store, stale, in_pieces(b"first"))
    for late in (b"second", noise(store, 2)):
        with pytest.raises(UploadRangeInvalid) as caught:
            await uploads.append(store, stale, in_pieces(late))
        assert caught.value.offset == 5
    current = await sessions.find(store, ANYONE, REPO, stale.id)
    assert (current.size, current.tail) == (5, b"first")


async def test_owner_without_its_lease_stops(store: Store, second: Store) -> None:
    """A worker that stalled past its lease finds another fence and changes no row."""
    session = await sessions.find(store, ANYONE, REPO, await start(store))
    past = utc_now() - timedelta(seconds=1)
    taken = await store.db.write(rows.take, session.id, 0, utc_now(), past)
    assert taken is not None
    zombie = Writer(store, session, taken.fence, session_hash())
    await zombie.write(b"a" * store.driver.segment)  # under way, in no row yet
    after = await uploads.append(second, session, in_pieces(b"b" * (2 * store.driver.segment)))
    with pytest.raises(UploadRangeInvalid):
        await zombie.close()
    assert (await sessions.find(store, ANYONE, REPO, session.id)).size == after.size


def session_hash() -> hashlib._Hash:
    return hashlib.sha256()


async def test_known_bytes_are_stored_once_and_linked_in_both(store: Store) -> None:
    data = noise(store, 2)
    await push_blob(store, data)
    before = await store.driver.head(keys.blob(Digest.of(data)))
    session = await sessions.find(store, ANYONE, OTHER, await start(store, OTHER))
    session = await uploads.append(store, session, in_pieces(data))
    await uploads.finish(store, ANYONE, session, Digest.of(data), "request")
    assert await store.driver.head(keys.blob(Digest.of(data))) == before
    assert await store.blob(OTHER, Digest.of(data))


async def test_bytes_that_vanished_are_stored_again(store: Store) -> None:
    data = os.urandom(1000)
    digest = await push_blob(store, data)
    await store.driver.delete([keys.blob(digest)])
    await push_blob(store, data)
    assert await stored(store, keys.blob(digest)) == data


async def test_cancelled_session_is_gone_with_its_bytes(store: Store) -> None:
    upload = await start(store)
    await uploads.append(store, await sessions.find(store, ANYONE, REPO, upload), in_pieces(noise(store, 2)))
    await sessions.cancel(store, ANYONE, REPO, upload)
    with pytest.raises(UploadUnknown):
        await sessions.find(store, ANYONE, REPO, upload)
    assert [entry async for entry in store.driver.list(keys.staging(upload))] == []


async def test_error_of_the_driver_frees_the_session(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    session = await sessions.find(store, ANYONE, REPO, await start(store))

    async def full(*args: object) -> str:
        raise CargoholdError("full")

    with monkeypatch.context() as patch:
        patch.setattr(store.driver, "stage", full)
        with pytest.raises(CargoholdError, match="full"):
            await uploads.append(store, session, in_pieces(noise(store, 3)))
    after = await uploads.append(store, await sessions.find(store, ANYONE, REPO, session.id), in_pieces(b"x" * TAIL * 2))
    assert after.size == TAIL * 2


async def test_unknown_blob_is_unknown(store: Store) -> None:
    with pytest.raises(BlobUnknown):
        await blobs.find(store, REPO, Digest.of(b"never"))


@on_engines
async def test_full_disk_does_not_stop_a_look_at_a_blob(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its lease cannot be renewed then, but reads go on."""
    blob = await blobs.find(store, REPO, await push_blob(store, b"layer"))

    async def full(*args: object) -> None:
        raise StorageFull

    monkeypatch.setattr(store.db, "note", full)
    await store.lease(msgspec.structs.replace(blob, leased_until=0))
