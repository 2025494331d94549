"""Manifests and tags: what is accepted, what a delete takes along, what the tree says after a race, the fallback tag."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from cargohold.auth.identity import ANYONE
from cargohold.content import blobs, manifests, referrers, tags
from cargohold.content.formats import DOCKER_IMAGE, DOCKER_LIST, OCI_IMAGE, OCI_INDEX
from cargohold.content.queries import journal
from cargohold.content.store import Store
from cargohold.errors import BlobUnknown, DigestInvalid, ManifestInvalid, ManifestUnknown, NameUnknown, ReferencesUnknown
from cargohold.names import Digest, Tag
from cargohold.storage import keys
from tests.content.shop import OTHER, REPO, image, push_blob, push_image, stored

V1, V2 = Tag("v1"), Tag("v2")


async def push(store: Store, body: bytes, reference: Tag | Digest = V1, media_type: str = OCI_IMAGE) -> Digest:
    digest, _ = await manifests.push(store, ANYONE, REPO, reference, body, media_type, "request")
    return digest


async def test_pushed_manifest_is_served_by_tag_and_digest_and_lies_in_the_tree(store: Store) -> None:
    digest = await push_image(store, "v1", b"layer")
    for reference in (V1, digest):
        assert Digest.of((await manifests.find(store, REPO, reference)).body) == digest
    assert await stored(store, keys.revision(REPO, digest)) == digest.encode()
    assert await stored(store, keys.tag_current(REPO, V1)) == digest.encode()
    assert await stored(store, keys.tag_history(REPO, V1, digest)) == digest.encode()
    assert Digest.of(await stored(store, keys.blob(digest)) or b"") == digest


async def test_every_missing_reference_is_named(store: Store) -> None:
    await push_blob(store, b"here")
    await push_blob(store, b"elsewhere", OTHER)
    with pytest.raises(ReferencesUnknown) as caught:
        await push(store, image(b"{}", [b"here", b"elsewhere", b"nowhere"]))
    assert set(caught.value.missing) == {Digest.of(b"{}"), Digest.of(b"elsewhere"), Digest.of(b"nowhere")}
    with pytest.raises(ManifestUnknown):
        await manifests.find(store, REPO, V1)


async def test_size_that_is_not_the_blobs_is_refused_with_its_field(store: Store) -> None:
    for data in (b"{}", b"layer"):
        await push_blob(store, data)
    body = image(b"{}", [b"layer"]).replace(b'"size": 5', b'"size": 6')
    with pytest.raises(ManifestInvalid) as caught:
        await push(store, body)
    assert caught.value.facts["field"] == "layers[0].size"


async def test_foreign_layers_need_not_be_here(store: Store) -> None:
    await push_blob(store, b"{}")
    layer = {"mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar", "digest": Digest.of(b"far"), "size": 3}
    document = json.loads(image(b"{}", []))
    await push(store, json.dumps({**document, "layers": [{**layer, "urls": ["https://example.com/far"]}]}).encode())
    with pytest.raises(ReferencesUnknown):
        await push(store, json.dumps({**document, "layers": [layer]}).encode())


async def test_index_may_name_manifests_and_blobs(store: Store) -> None:
    child = await push_image(store, "@", b"layer")
    cache = await push_blob(store, b"cache layer")
    body = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": OCI_INDEX,
            "manifests": [
                {"mediaType": OCI_IMAGE, "digest": child, "size": 1},
                {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": cache, "size": 11},
            ],
        }
    ).encode()
    await push(store, body, media_type=OCI_INDEX)
    with pytest.raises(ReferencesUnknown) as caught:
        await push(store, body.replace(child.encode(), Digest.of(b"none").encode()), media_type=OCI_INDEX)
    assert caught.value.missing == [Digest.of(b"none")]


async def test_list_with_a_platform_that_is_none_is_served_as_it_is(store: Store) -> None:
    child = {"mediaType": DOCKER_IMAGE, "digest": await push_image(store, "v1", b"layer"), "size": 1, "platform": "linux/amd64"}
    body = json.dumps({"schemaVersion": 2, "mediaType": DOCKER_LIST, "manifests": [child]}).encode()
    await manifests.push(store, ANYONE, REPO, Tag("list"), body, DOCKER_LIST, "request")
    assert (await manifests.pull(store, ANYONE, REPO, Tag("list"), accepts_lists=False)).body == body


async def test_digest_in_the_path_must_be_the_bytes(store: Store) -> None:
    await push_blob(store, b"{}")
    with pytest.raises(DigestInvalid):
        await push(store, image(b"{}", []), Digest.of(b"other"))


async def test_delete_by_tag_takes_the_tag_alone(store: Store) -> None:
    digest = await push_image(store, "v1", b"layer")
    await push_image(store, "v2", b"layer")
    await manifests.delete(store, ANYONE, REPO, V1, "request")
    assert (await tags.page(store, REPO, "", 10)) == (["v2"], False)
    assert (await manifests.find(store, REPO, digest)).digest == digest
    assert [entry async for entry in store.driver.list(keys.tag(REPO, V1))] == []
    with pytest.raises(ManifestUnknown):
        await manifests.delete(store, ANYONE, REPO, V1, "request")


async def test_delete_by_digest_takes_all_its_tags(store: Store) -> None:
    digest = await push_image(store, "v1", b"layer")
    assert await push_image(store, "v2", b"layer") == digest
    other = await push_image(store, "v3", b"other")
    await manifests.delete(store, ANYONE, REPO, digest, "request")
    assert (await tags.page(store, REPO, "", 10)) == (["v3"], False)
    assert await store.driver.head(keys.revision(REPO, digest)) is None
    for tag in (V1, V2):
        assert [entry async for entry in store.driver.list(keys.tag(REPO, tag))] == []
    assert (await manifests.find(store, REPO, Tag("v3"))).digest == other


async def test_blob_delete_unlinks_here_alone(store: Store) -> None:
    digest = await push_blob(store, b"shared")
    await push_blob(store, b"shared", OTHER)
    await blobs.delete(store, ANYONE, REPO, digest, "request")
    with pytest.raises(BlobUnknown):
        await blobs.find(store, REPO, digest)
    assert await store.driver.head(keys.layer(REPO, digest)) is None
    assert await blobs.find(store, OTHER, digest)
    assert await stored(store, keys.blob(digest)) == b"shared"


async def test_blob_deleted_under_a_push_refuses_it(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The question is asked again inside the write: a manifest never points to what is no longer held."""
    layer = await push_blob(store, b"layer")
    await push_blob(store, b"{}")
    put = store.driver.put

    async def put_then_delete(objects: object) -> None:
        await put(objects)  # type: ignore[arg-type]  # the driver's own argument, handed on
        monkeypatch.undo()
        await blobs.delete(store, ANYONE, REPO, layer, "request")

    monkeypatch.setattr(store.driver, "put", put_then_delete)
    with pytest.raises(ReferencesUnknown):
        await push(store, image(b"{}", [b"layer"]))


async def test_race_for_one_tag_leaves_rows_and_tree_equal(store: Store, second: Store) -> None:
    for number in range(12):
        await push_image(store, f"seed{number}", b"layer%d" % number)
    bodies = [image(b"{}", [b"layer%d" % number]) for number in range(12)]
    workers = [store, second]
    await asyncio.gather(
        *(manifests.push(workers[number % 2], ANYONE, REPO, V1, body, OCI_IMAGE, "request") for number, body in enumerate(bodies))
    )
    winner = await manifests.find(store, REPO, V1)
    assert await stored(store, keys.tag_current(REPO, V1)) == winner.digest.encode()


async def test_mount_needs_the_blob_in_the_source(store: Store) -> None:
    digest = await push_blob(store, b"layer", OTHER)
    assert not await blobs.mount(store, ANYONE, REPO, Digest.of(b"none"), OTHER, "request")
    assert await blobs.mount(store, ANYONE, REPO, digest, OTHER, "request")
    assert await blobs.find(store, REPO, digest)
    assert await stored(store, keys.layer(REPO, digest)) == digest.encode()


async def test_every_change_leaves_its_event(store: Store) -> None:
    digest = await push_image(store, "v1", b"layer")
    await blobs.mount(store, ANYONE, OTHER, Digest.of(b"layer"), REPO, "request")
    await manifests.delete(store, ANYONE, REPO, V1, "request")
    await manifests.delete(store, ANYONE, REPO, digest, "request")
    await blobs.delete(store, ANYONE, REPO, Digest.of(b"layer"), "request")
    kinds = [entry.kind for entry in await journal.events_after(store.db.now, 0, 100)]
    expected = ["BlobPushed", "BlobPushed", "ManifestPushed", "BlobMounted", "TagDeleted", "ManifestDeleted", "BlobDeleted"]
    assert kinds == expected


async def test_tag_list_of_an_unknown_repository(store: Store) -> None:
    with pytest.raises(NameUnknown):
        await tags.page(store, REPO, "", 10)


async def test_referrers_follow_pushes_and_deletes_page_by_page(store: Store) -> None:
    subject = await push_image(store, "v1", b"layer")
    about: dict[str, Any] = {"subject": {"mediaType": OCI_IMAGE, "digest": subject, "size": 1}}
    pushed = [
        await push_image(store, "@", b"layer", artifactType=f"a/{number % 2}", annotations={"n": str(number)}, **about)
        for number in range(5)
    ]
    found, mark = await referrers.page(store, REPO, subject, None, 0)
    assert [item.digest for item in found] == pushed
    assert mark is None
    ones, _ = await referrers.page(store, REPO, subject, "a/1", 0)
    assert [item.annotations for item in ones] == [{"n": "1"}, {"n": "3"}]
    await manifests.delete(store, ANYONE, REPO, pushed[0], "request")
    await manifests.delete(store, ANYONE, REPO, subject, "request")
    found, _ = await referrers.page(store, REPO, subject, None, 0)
    assert [item.digest for item in found] == pushed[1:]


async def test_fallback_tag_is_kept_in_step_where_there_is_one(store: Store) -> None:
    subject = await push_image(store, "v1", b"layer")
    about: dict[str, Any] = {"subject": {"mediaType": OCI_IMAGE, "digest": subject, "size": 1}}
    tag = referrers.fallback_tag(subject)
    first = await push_image(store, "@", b"layer", artifactType="a/1", **about)
    with pytest.raises(ManifestUnknown):
        await manifests.find(store, REPO, tag)
    old = {"mediaType": OCI_IMAGE, "digest": await push_image(store, "@", b"old"), "size": 1, "artifactType": "old/one"}
    body = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [old]}).encode()
    await manifests.push(store, ANYONE, REPO, tag, body, OCI_INDEX, "request")
    second = await push_image(store, "@", b"layer", artifactType="a/2", **about)
    assert await listed(store, tag) == {old["digest"], first, second}
    await manifests.delete(store, ANYONE, REPO, first, "request")
    assert await listed(store, tag) == {old["digest"], second}


async def listed(store: Store, tag: Tag) -> set[str]:
    return {item["digest"] for item in json.loads((await manifests.find(store, REPO, tag)).body)["manifests"]}
