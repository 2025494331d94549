"""The tree: adopted as registry:2 left it, mended after a crash, checked by fsck, read again after the database was lost."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from cargohold.auth.identity import ANYONE
from cargohold.config.settings import Limits
from cargohold.content import blobs, journal, manifests, sessions, sweeper, tags, uploads
from cargohold.content.adoption import DONE, Adoption, _import, _running, forget_all
from cargohold.content.fsck import Fault, check
from cargohold.content.gates import Gates
from cargohold.content.queries import journal as journal_rows
from cargohold.content.queries.repositories import page
from cargohold.content.store import Store, utc_now
from cargohold.db.work import Database
from cargohold.errors import BlobUnknown, Corrupt, ManifestUnknown, Unavailable, UploadUnknown
from cargohold.names import Digest, RepoName, Tag
from cargohold.storage import keys
from cargohold.storage.driver import Small
from cargohold.storage.drivers.files import FilesDriver
from cargohold.storage.drivers.files_tree import Sync
from tests.content.conftest import on_files
from tests.content.shop import OTHER, REPO, image, in_pieces, noise, push_blob, push_image, start, stored


async def lay_out(store: Store, name: RepoName, tag_names: Sequence[str], layers: Sequence[bytes]) -> Digest:
    """An image as registry:2 writes it: files only, no rows."""
    body = image(b"{}", layers)
    digest = Digest.of(body)

    def tag_history(name: RepoName, tag: Tag) -> str:
        return keys.tag_history(name, tag, digest)

    small = [Small(keys.blob(Digest.of(data)), data) for data in (b"{}", *layers, body)]
    small += [Small(keys.layer(name, Digest.of(data)), Digest.of(data).encode()) for data in (b"{}", *layers)]
    small.append(Small(keys.revision(name, digest), digest.encode()))
    await store.driver.put(small)
    links = [Small(key(name, Tag(text)), digest.encode()) for text in tag_names for key in (tag_history, keys.tag_current)]
    await asyncio.gather(*(store.driver.put(links[start : start + 40]) for start in range(0, len(links), 40)))
    return digest


async def dirt(store: Store, name: RepoName) -> None:
    """What crashes, old versions and other programs leave in real trees."""
    lost, empty, other = Digest.of(b"lost"), Digest.of(b"empty"), Digest.of(b"other")
    schema1 = json.dumps({"schemaVersion": 1, "name": "x", "fsLayers": []}).encode()
    await store.driver.put(
        [
            Small(keys.layer(name, lost), lost.encode()),
            Small(keys.layer(name, empty), b""),
            Small(keys.revision(name, other), Digest.of(b"else").encode()),
            Small(keys.revision(name, Digest.of(schema1)), Digest.of(schema1).encode()),
            Small(keys.blob(Digest.of(schema1)), schema1),
            Small(keys.tag_current(name, Tag("dangling")), lost.encode()),
            Small(keys.tag_history(name, Tag("only-history"), lost), lost.encode()),
            Small(keys.tags(name) + "-no-tag/current/link", lost.encode()),
            Small(f"{keys.repository(name)}_uploads/0f9c/data", b"half"),
            Small(keys.repository(name) + ".DS_Store", b"x"),
            Small(keys.REPOSITORIES + "UPPER/_manifests/tags/x/current/link", lost.encode()),
            Small(keys.REPOSITORIES + "lost+found/x", b"x"),
        ]
    )


async def test_repository_is_adopted_when_it_is_asked_for(store: Store) -> None:
    digest = await lay_out(store, REPO, ["v1", "v2"], [b"a", b"b"])
    await dirt(store, REPO)
    store.adoption = Adoption(store)
    assert (await manifests.find(store, REPO, Tag("v1"))).digest == digest
    assert await tags.page(store, REPO, "", None) == (["v1", "v2"], False)
    assert (await blobs.find(store, REPO, Digest.of(b"a"))).size == 1
    for unknown in (Digest.of(b"lost"), Digest.of(b"empty")):
        with pytest.raises(BlobUnknown):
            await blobs.find(store, REPO, unknown)
    with pytest.raises(ManifestUnknown):
        await manifests.find(store, OTHER, Tag("v1"))


async def test_scan_finds_all_repositories_and_then_a_miss_is_a_miss(store: Store) -> None:
    names = [RepoName(text) for text in ("a", "a/b", "a-b", "a/b/c", "z")]
    for name in names:
        await lay_out(store, name, ["v1"], [name.encode()])
    await dirt(store, RepoName("z"))
    store.adoption = Adoption(store)
    await store.adoption.scan()
    assert await page(store.db.now, "", 10) == ["a", "a/b", "a/b/c", "a-b", "z"]
    assert store.adoption.tally.manifests == len(names)
    assert store.adoption.tally.passed_over > 0
    await lay_out(store, OTHER, ["v1"], [b"late"])
    with pytest.raises(ManifestUnknown):
        await manifests.find(store, OTHER, Tag("v1"))


async def test_push_into_a_repository_not_yet_adopted_keeps_the_old(store: Store) -> None:
    old = await lay_out(store, REPO, ["old"], [b"a"])
    store.adoption = Adoption(store)
    await push_image(store, "new", b"b")
    assert (await manifests.find(store, REPO, Tag("old"))).digest == old
    assert (await tags.page(store, REPO, "", None))[0] == ["new", "old"]


async def test_import_that_was_cut_off_is_taken_up_again(store: Store) -> None:
    await lay_out(store, REPO, ["v1"], [b"a"])
    await store.db.write(journal_rows.set_meta, _running(REPO), "running")
    await push_image(store, "half", b"half")
    store.adoption = Adoption(store)
    await store.adoption.scan()
    assert (await tags.page(store, REPO, "", None))[0] == ["half", "v1"]
    assert await journal_rows.get_meta(store.db.now, _running(REPO)) is None


async def test_large_repository_is_adopted_in_batches(store: Store) -> None:
    digest = await lay_out(store, REPO, [f"t{number}" for number in range(700)], [b"a"])
    store.adoption = Adoption(store)
    assert (await manifests.find(store, REPO, digest)).digest == digest
    assert len((await tags.page(store, REPO, "", None))[0]) == 700


async def test_two_workers_adopt_at_once_and_what_is_deleted_then_stays_deleted(store: Store, second: Store) -> None:
    digest = await lay_out(store, REPO, ["v1", "v2"], [b"a"])
    slow = Adoption(store)
    read = [item async for item in slow._found(REPO)]
    store.adoption, second.adoption = Adoption(store), Adoption(second)
    await asyncio.gather(store.adopt(REPO), second.adopt(REPO))
    await manifests.delete(second, ANYONE, REPO, Tag("v1"), "request")
    await store.db.write(_import, REPO, read, last=True)
    assert await tags.page(store, REPO, "", None) == (["v2"], False)
    assert (await manifests.find(second, REPO, Tag("v2"))).digest == digest


async def test_rows_can_be_rebuilt_from_the_tree(store: Store) -> None:
    subject = await push_image(store, "v1", b"a")
    await push_image(store, "@", b"b", artifactType="x/y", subject={"mediaType": "m/t", "digest": subject, "size": 1})
    await push_image(store, "v2", b"c", repository=OTHER)
    before = await everything(store)
    store.adoption = Adoption(store)
    await store.adoption.scan()
    await forget_all(store)
    assert await page(store.db.now, "", 10) == []
    store.adoption = Adoption(store)
    await store.adoption.scan()
    assert await everything(store) == before
    assert await journal_rows.get_meta(store.db.now, DONE) == "whole"


async def everything(store: Store) -> dict[str, object]:
    from cargohold.content import referrers
    from cargohold.content.queries.manifests import manifests_page
    from cargohold.content.queries.repositories import repository_id

    found: dict[str, object] = {}
    for name in await page(store.db.now, "", 10):
        id = await repository_id(store.db.now, RepoName(name))
        assert id is not None
        held = sorted((item.digest, item.media_type, item.body) for item in await manifests_page(store.db.now, id, 0, 100))
        names, _ = await tags.page(store, RepoName(name), "", None)
        pointed = [(tag, (await manifests.find(store, RepoName(name), Tag(tag))).digest) for tag in names]
        about = [
            [(item.digest, item.artifact_type) for item in (await referrers.page(store, RepoName(name), digest, None, 0))[0]]
            for digest, _, _ in held
        ]
        found[name] = (held, pointed, about)
    return found


async def test_crash_between_row_and_link_is_mended_from_the_journal(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The links of a tag, of a deleted tag, of a deleted manifest and of a deleted blob, each not written when the power went."""
    gone = await push_image(store, "gone", b"gone")
    await push_image(store, "untagged", b"a")

    async def died(*args: object) -> None:
        raise KeyboardInterrupt

    for name in ("mirror_tag", "mirror_revision"):
        monkeypatch.setattr(manifests, name, died)
    monkeypatch.setattr(blobs, "mirror_layer", died)
    for change in (
        lambda: push_image(store, "v1", b"a"),
        lambda: manifests.delete(store, ANYONE, REPO, Tag("untagged"), "request"),
        lambda: manifests.delete(store, ANYONE, REPO, gone, "request"),
        lambda: blobs.delete(store, ANYONE, REPO, Digest.of(b"gone"), "request"),
    ):
        with pytest.raises(KeyboardInterrupt):
            await change()
    monkeypatch.undo()
    assert {fault.finding for fault in await faults(store)} == {"tag-link", "stray-link"}
    assert await journal.replay(store) > 0
    assert await faults(store) == []
    assert await store.driver.head(keys.layer(REPO, Digest.of(b"gone"))) is None
    assert await journal.replay(store) == 0


async def test_link_that_could_not_be_written_is_mended_in_the_next_turn(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bucket goes away between a commit and its links."""
    gone = await push_image(store, "gone", b"gone")
    await push_image(store, "moved", b"a")

    async def away(*args: object) -> None:
        raise Unavailable

    with monkeypatch.context() as patch:
        patch.setattr(store.driver, "delete", away)
        with pytest.raises(Unavailable):
            await manifests.delete(store, ANYONE, REPO, gone, "request")
    assert "stray-link" in {fault.finding for fault in await faults(store)}
    with monkeypatch.context() as patch:
        patch.setattr(store.driver, "delete", away)
        with pytest.raises(Unavailable):
            await journal.settle(store, 0)
    end = await journal.settle(store, 0)
    assert await faults(store) == []
    assert await journal.settle(store, end) == end
    assert await journal.replay(store) == 0


async def test_links_that_a_power_loss_took_are_written_again(database: Database, data_folder: Path) -> None:
    """On the level `journal` no link is synced with its push: whatever is left of them, the events give them back."""
    driver = FilesDriver(str(data_folder), Sync("journal"))
    store = Store(database, driver, Limits(), Gates())
    digest = await push_image(store, "v1", b"a", b"b")
    await push_image(store, "gone", b"c")
    await manifests.delete(store, ANYONE, REPO, Tag("gone"), "request")
    links = sorted((data_folder / keys.repository(REPO)).rglob("link"))
    assert len(links) >= 7
    for number, path in enumerate(links):
        if number % 2:
            path.write_bytes(b"")
        else:
            path.unlink()
    assert await faults(store) != []
    await journal.replay(store)
    assert await faults(store) == []
    assert await stored(store, keys.tag_history(REPO, Tag("v1"), digest)) == digest.encode()
    await driver.aclose()


async def test_events_are_kept_for_their_time_and_as_long_as_the_tree_needs_them(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    await push_image(store, "v1", b"a")
    count = len(await journal_rows.events_after(store.db.now, 0, 100))
    now = utc_now()
    monkeypatch.setattr(journal, "utc_now", lambda: now + journal.KEPT * 2)
    await journal.prune(store)
    assert len(await journal_rows.events_after(store.db.now, 0, 100)) == count, "the cursor has not passed them"
    await journal.replay(store)
    monkeypatch.setattr(journal, "utc_now", lambda: now)
    await journal.prune(store)
    assert len(await journal_rows.events_after(store.db.now, 0, 100)) == count, "they are young"
    monkeypatch.setattr(journal, "utc_now", lambda: now + journal.KEPT * 2)
    await journal.prune(store)
    assert await journal_rows.events_after(store.db.now, 0, 100) == []


async def faults(store: Store, *, repair: bool = False) -> list[Fault]:
    return [fault async for fault in check(store, repair=repair)]


@on_files
async def test_corrupt_bytes_are_never_served(store: Store, data_folder: Path) -> None:
    data = os.urandom(1000)
    digest = await push_blob(store, data)
    path = data_folder / keys.blob(digest)
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    blob = await blobs.find(store, REPO, digest)
    stat = await store.driver.head(keys.blob(digest))
    assert stat is not None
    assert stat.mark != blob.mark
    with pytest.raises(Corrupt):
        await store.verify(blob, stat.mark)
    with pytest.raises(BlobUnknown):
        await blobs.find(store, REPO, digest)
    await push_blob(store, data)
    assert (await blobs.find(store, REPO, digest)).size == 1000


@on_files
async def test_touched_file_with_the_same_bytes_is_believed_again(store: Store, data_folder: Path) -> None:
    digest = await push_blob(store, b"data")
    os.utime(data_folder / keys.blob(digest), (1, 1))
    await store.verify(await blobs.find(store, REPO, digest), 10**9)
    assert (await blobs.find(store, REPO, digest)).mark == 10**9


async def test_fsck_finds_each_fault_and_repairs_what_it_can(store: Store) -> None:
    digest = await push_image(store, "v1", b"layer", b"flipped")
    layer, flipped = Digest.of(b"layer"), Digest.of(b"flipped")
    await push_blob(store, b"missing")
    assert await faults(store) == []
    await store.driver.put(
        [
            Small(keys.blob(flipped), b"FLIPPED"),
            Small(keys.layer(REPO, layer), b""),
            Small(keys.tag_current(REPO, Tag("v1")), b"sha256:00"),
            Small(keys.blob(digest), b"{}"),
        ]
    )
    await store.driver.delete([keys.blob(Digest.of(b"missing")), keys.revision(REPO, digest)])
    await store.driver.put([Small(keys.tag_current(REPO, Tag("stray")), digest.encode())])
    await store.driver.put([Small(f"{keys.revisions(REPO)}sha256/foreign/link", b"sha256:foreign")])
    expected = ["blob-corrupt", "blob-missing", "layer-link", "manifest-missing", "revision-link", "stray-link", "tag-link"]
    assert sorted(fault.finding for fault in await faults(store)) == expected
    quick = {fault.subject async for fault in check(store, repair=False, quick=True)}
    assert flipped not in quick and Digest.of(b"missing") in quick
    assert sorted(fault.finding for fault in await faults(store, repair=True)) == expected
    left = ["blob-corrupt", "blob-missing", "stray-link"]
    assert sorted(fault.finding for fault in await faults(store)) == left
    assert await stored(store, keys.tag_current(REPO, Tag("v1"))) == digest.encode()
    with pytest.raises(BlobUnknown):
        await blobs.find(store, REPO, flipped)


async def test_sweeper_takes_idle_and_done_uploads(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    done, idle, kept = await start(store), await start(store), await start(store)
    session = await uploads.append(store, await sessions.find(store, ANYONE, REPO, done), in_pieces(b"abc"))
    await uploads.finish(store, ANYONE, session, Digest.of(b"abc"), "request")
    await uploads.append(store, await sessions.find(store, ANYONE, REPO, idle), in_pieces(noise(store, 2)))
    assert await sweeper.sweep(store, 3600) == 0
    now = utc_now()
    monkeypatch.setattr(sweeper, "utc_now", lambda: now + sweeper.KEEP_DONE * 2)
    assert await sweeper.sweep(store, 3600) == 1
    assert await sweeper.sweep(store, 60) == 2
    for upload in (done, idle, kept):
        with pytest.raises(UploadUnknown):
            await sessions.find(store, ANYONE, REPO, upload)
    assert [entry async for entry in store.driver.list(keys.staging(idle))] == []
