"""Units that run side by side, as they do on PostgreSQL: each test stops one of them in its middle and lets the other begin.

On SQLite the second unit waits for the first by itself, and the same must come out.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from sqlalchemy import func, select

from cargohold.auth.identity import ANYONE
from cargohold.content import blobs, manifests, referrers, tags
from cargohold.content.formats import OCI_IMAGE, OCI_INDEX
from cargohold.content.queries import journal
from cargohold.content.queries import manifests as manifest_rows
from cargohold.content.queries import tags as tag_rows
from cargohold.content.store import Store
from cargohold.db.query import Query
from cargohold.db.work import Work
from cargohold.errors import BlobUnknown, ManifestUnknown, ReferencesUnknown
from cargohold.names import Digest, Tag
from cargohold.storage import keys
from tests.content.conftest import on_engines
from tests.content.shop import REPO, image, push_blob, push_image, stored

_PAUSE: Query[Any] = Query(select(func.pg_sleep(0.3)))


def slowed(store: Store, monkeypatch: pytest.MonkeyPatch, module: object, name: str) -> None:
    """Units pause before they call that query, where units can run side by side at all."""
    query = getattr(module, name)

    async def after_a_pause(work: Work, *args: object, **named: object) -> object:
        if store.db.dialect == "postgresql":
            await work.one(_PAUSE)
        return await query(work, *args, **named)

    monkeypatch.setattr(module, name, after_a_pause)


async def kinds(store: Store) -> list[str]:
    """The events in the order in which they took effect."""
    return [entry.kind for entry in await journal.events_after(store.db.now, 0, 100)]


async def push(store: Store, body: bytes, tag: str, media_type: str = OCI_IMAGE) -> Digest:
    digest, _ = await manifests.push(store, ANYONE, REPO, Tag(tag), body, media_type, "request")
    return digest


@on_engines
async def test_layer_that_is_deleted_while_its_manifest_is_stored(store: Store, second: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The push comes first and the delete after it, or the push is refused: never a manifest whose layer was gone before it."""
    for data in (b"{}", b"layer"):
        await push_blob(store, data)
    slowed(store, monkeypatch, manifest_rows, "store_manifest")
    pushing = asyncio.create_task(push(store, image(b"{}", [b"layer"]), "v1"))
    await asyncio.sleep(0.1)
    await blobs.delete(second, ANYONE, REPO, Digest.of(b"layer"), "request")
    try:
        await pushing
    except ReferencesUnknown:
        assert "ManifestPushed" not in await kinds(store)
    else:
        assert (await kinds(store))[-2:] == ["ManifestPushed", "BlobDeleted"]


@on_engines
async def test_child_that_is_deleted_while_its_index_is_stored(store: Store, second: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    child = await push_image(store, "@", b"layer")
    body = b'{"schemaVersion":2,"mediaType":"%b","manifests":[{"mediaType":"%b","digest":"%b","size":1}]}'
    body %= (OCI_INDEX.encode(), OCI_IMAGE.encode(), child.encode())
    slowed(store, monkeypatch, manifest_rows, "store_manifest")
    pushing = asyncio.create_task(push(store, body, "v1", OCI_INDEX))
    await asyncio.sleep(0.1)
    await manifests.delete(second, ANYONE, REPO, child, "request")
    try:
        await pushing
    except ReferencesUnknown:
        assert (await kinds(store))[-1] == "ManifestDeleted"
    else:
        assert (await kinds(store))[-2:] == ["ManifestPushed", "ManifestDeleted"]


@on_engines
async def test_tag_that_comes_to_a_manifest_while_it_is_deleted(store: Store, second: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = await push_image(store, "v1", b"layer")
    slowed(store, monkeypatch, manifest_rows, "delete_manifest")
    deleting = asyncio.create_task(manifests.delete(store, ANYONE, REPO, digest, "request"))
    await asyncio.sleep(0.1)
    await push(second, image(b"{}", [b"layer"]), "v2")
    await deleting
    assert (await manifests.find(store, REPO, Tag("v2"))).digest == digest
    assert await tags.page(store, REPO, "", 10) == (["v2"], False)


@on_engines
async def test_manifest_that_is_deleted_while_it_gets_a_tag(store: Store, second: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = await push_image(store, "v1", b"layer")
    slowed(store, monkeypatch, tag_rows, "set_tag")
    pushing = asyncio.create_task(push(store, image(b"{}", [b"layer"]), "v2"))
    await asyncio.sleep(0.1)
    await manifests.delete(second, ANYONE, REPO, digest, "request")
    await pushing
    assert (await kinds(store))[-2:] == ["ManifestPushed", "ManifestDeleted"]
    assert await tags.page(store, REPO, "", 10) == ([], False)


@on_engines
async def test_pushes_and_deletes_of_everything_at_once(store: Store, second: Store) -> None:
    """Whatever is refused is refused in words; nothing hangs, and what is left is whole."""
    layers = [b"layer %d" % number for number in range(4)]
    bodies = [image(b"{}", layers[: number + 1]) for number in range(4)]

    async def pusher(worker: Store, turn: int) -> None:
        for data in (b"{}", *layers):
            await push_blob(worker, data)
        await push(worker, bodies[turn % 4], f"v{turn % 3}")

    async def deleter(worker: Store, turn: int) -> None:
        await manifests.delete(worker, ANYONE, REPO, Digest.of(bodies[turn % 4]), "request")
        await blobs.delete(worker, ANYONE, REPO, Digest.of(layers[turn % 4]), "request")

    work = [step((store, second)[turn % 2], turn) for turn in range(16) for step in (pusher, deleter)]
    for result in await asyncio.gather(*work, return_exceptions=True):
        assert result is None or isinstance(result, ReferencesUnknown | ManifestUnknown | BlobUnknown), result
    await pusher(store, 0)
    names, _ = await tags.page(store, REPO, "", 10)
    for name in names:
        await manifests.find(second, REPO, Tag(name))


async def test_fallback_tag_holds_both_of_two_referrers_that_race(store: Store, second: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first has made its list and waits while the second comes and goes: its list is one short, and must not be the last word."""
    subject = await push_image(store, "v1", b"layer")
    about: dict[str, Any] = {"subject": {"mediaType": OCI_IMAGE, "digest": subject, "size": 1}}
    tag = referrers.fallback_tag(subject)
    await push(store, json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}).encode(), tag, OCI_INDEX)
    made, go_on, merge = asyncio.Event(), asyncio.Event(), referrers._merged

    async def merged(of: Store, *args: Any) -> bytes | None:
        body = await merge(of, *args)
        if of is store and not made.is_set():
            made.set()
            await go_on.wait()
        return body

    monkeypatch.setattr(referrers, "_merged", merged)
    waiting = asyncio.create_task(push_image(store, "@", b"layer", artifactType="a/1", **about))
    await made.wait()
    quick = await push_image(second, "@", b"layer", artifactType="a/2", **about)
    go_on.set()
    body = (await manifests.find(store, REPO, tag)).body
    assert {item["digest"] for item in json.loads(body)["manifests"]} >= {quick}
    slow = await waiting
    body = (await manifests.find(store, REPO, tag)).body
    assert {item["digest"] for item in json.loads(body)["manifests"]} == {slow, quick}
    assert await stored(store, keys.tag_current(REPO, tag)) == Digest.of(body).encode()
