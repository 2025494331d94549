"""Manifests that are refused: each with the code, and a detail that names the field or the missing digest."""

from __future__ import annotations

import json
from typing import Any

import httpx
import msgspec
import pytest

from cargohold.config.settings import Limits, Settings
from cargohold.testing import image as images
from cargohold.testing.image import DOCKER_IMAGE, DOCKER_LIST, OCI_IMAGE, OCI_INDEX, Blob, image
from cargohold.testing.push import apush
from cargohold.testing.server import registry
from tests.registry.wire import UNKNOWN, add, error, store

pytestmark = pytest.mark.asyncio(loop_scope="module")

SCHEMA1 = {"schemaVersion": 1, "name": "team/app", "tag": "v1", "fsLayers": [], "history": []}


async def test_each_missing_thing_is_an_entry_of_its_own(client: httpx.AsyncClient, repo: str) -> None:
    made = image(layers=3, seed=repo)
    await add(client, repo, made.blobs[1])
    answer = await store(client, repo, "v1", made.body, made.media_type)
    error(answer, 400, "MANIFEST_BLOB_UNKNOWN")
    entries = answer.json()["errors"]
    missing = {made.blobs[0].digest, made.blobs[2].digest, made.blobs[3].digest}
    assert {entry["detail"]["digest"] for entry in entries} == missing and len(entries) == 3
    assert {entry["code"] for entry in entries} == {"MANIFEST_BLOB_UNKNOWN"}
    error(await client.get(f"/v2/{repo}/manifests/v1"), 404, "MANIFEST_UNKNOWN")
    error(await client.get(f"/v2/{repo}/manifests/{made.digest}"), 404, "MANIFEST_UNKNOWN")


@pytest.mark.parametrize("format", ["oci", "docker"])
async def test_blobs_of_another_repository_do_not_count(client: httpx.AsyncClient, repo: str, format: images.Format) -> None:
    made = image(seed=repo, format=format)
    await apush(client, f"{repo}/theirs", made, "v1")
    error(await store(client, repo, "v1", made.body, made.media_type), 400, "MANIFEST_BLOB_UNKNOWN")


@pytest.mark.parametrize("format", ["oci", "docker"])
async def test_children_must_be_here(client: httpx.AsyncClient, repo: str, format: images.Format) -> None:
    made = images.multi_arch(seed=repo, format=format)
    await apush(client, f"{repo}/theirs", made, "v1")
    await apush(client, repo, made.children[0])
    answer = await store(client, repo, "v1", made.body, made.media_type)
    assert error(answer, 400, "MANIFEST_BLOB_UNKNOWN") == {"digest": made.children[1].digest}


async def test_a_deleted_blob_is_missing(client: httpx.AsyncClient, repo: str) -> None:
    made = image(seed=repo)
    await add(client, repo, *made.blobs)
    await client.delete(f"/v2/{repo}/blobs/{made.blobs[0].digest}")
    answer = await store(client, repo, "v1", made.body, made.media_type)
    assert error(answer, 400, "MANIFEST_BLOB_UNKNOWN") == {"digest": made.blobs[0].digest}


async def test_a_wrong_size_is_told_by_its_field(client: httpx.AsyncClient, repo: str) -> None:
    made = image(seed=repo)
    await add(client, repo, *made.blobs)
    document = json.loads(made.body)
    document["layers"][1]["size"] += 1
    detail = error(await store(client, repo, "v1", json.dumps(document).encode(), OCI_IMAGE), 400, "MANIFEST_INVALID")
    assert detail["field"] == "layers[1].size" and detail["digest"] == made.blobs[1].digest


@pytest.mark.parametrize(
    ("document", "kind"),
    [
        (SCHEMA1, "application/vnd.docker.distribution.manifest.v1+prettyjws"),
        (SCHEMA1, "application/vnd.docker.distribution.manifest.v1+json"),
        (SCHEMA1, "application/json"),
        (SCHEMA1, None),
    ],
)
async def test_schema_1_is_refused_in_words(client: httpx.AsyncClient, repo: str, document: dict[str, Any], kind: str | None) -> None:
    answer = await store(client, repo, "v1", json.dumps(document).encode(), kind)
    error(answer, 400, "MANIFEST_INVALID")
    assert "schema version 1" in answer.json()["errors"][0]["message"]


def changed(**members: Any) -> bytes:
    """The image of these tests with some members replaced (None: taken out)."""
    return images.manifest(image().document | members, OCI_IMAGE).body


def descriptor(**members: Any) -> dict[str, Any]:
    found = image().document["layers"][0] | members
    return {name: value for name, value in found.items() if value is not None}


DOCKER_WITHOUT_TYPE = images.manifest(image(format="docker").document | {"mediaType": None}, DOCKER_IMAGE)

BAD = {
    "empty": (b"", OCI_IMAGE, ""),
    "no JSON": (b"{", OCI_IMAGE, ""),
    "not UTF-8": (b'{"\xff": 1}', OCI_IMAGE, ""),
    "a list": (b"[]", OCI_IMAGE, ""),
    "null": (b"null", OCI_IMAGE, ""),
    "a number": (b"2", OCI_IMAGE, ""),
    "no schemaVersion": (changed(schemaVersion=None), OCI_IMAGE, "schemaVersion"),
    "schemaVersion 3": (changed(schemaVersion=3), OCI_IMAGE, "schemaVersion"),
    "schemaVersion as text": (changed(schemaVersion="2"), OCI_IMAGE, "schemaVersion"),
    "another type in the body": (changed(mediaType=OCI_INDEX), OCI_IMAGE, "mediaType"),
    "docker type in the body": (changed(mediaType=DOCKER_IMAGE), OCI_IMAGE, "mediaType"),
    "docker image without mediaType": (
        images.manifest(image(format="docker").document | {"mediaType": None}, "").body,
        DOCKER_IMAGE,
        "mediaType",
    ),
    "docker list without mediaType": (b'{"schemaVersion":2,"manifests":[]}', DOCKER_LIST, "mediaType"),
    "an image with manifests": (changed(manifests=[]), OCI_IMAGE, "manifests"),
    "an index with layers": (images.index([], layers=[]).body, OCI_INDEX, "layers"),
    "an index with config": (images.index([], config={}).body, OCI_INDEX, "config"),
    "no config": (changed(config=None), OCI_IMAGE, "config"),
    "config as text": (changed(config="x"), OCI_IMAGE, "config"),
    "layers as an object": (changed(layers={}), OCI_IMAGE, "layers"),
    "a layer as text": (changed(layers=["x"]), OCI_IMAGE, "layers[0]"),
    "a layer without digest": (changed(layers=[descriptor(digest=None)]), OCI_IMAGE, "layers[0].digest"),
    "a digest that is none": (changed(layers=[descriptor(digest="sha256:x")]), OCI_IMAGE, "layers[0].digest"),
    "a digest of capitals": (changed(layers=[descriptor(digest="sha256:" + "A" * 64)]), OCI_IMAGE, "layers[0].digest"),
    "a layer without size": (changed(layers=[descriptor(size=None)]), OCI_IMAGE, "layers[0].size"),
    "a negative size": (changed(layers=[descriptor(size=-1)]), OCI_IMAGE, "layers[0].size"),
    "a size as text": (changed(layers=[descriptor(size="10")]), OCI_IMAGE, "layers[0].size"),
    "a huge size": (changed(layers=[descriptor(size=10**30)]), OCI_IMAGE, "layers[0].size"),
    "a layer without mediaType": (changed(layers=[descriptor(mediaType=None)]), OCI_IMAGE, "layers[0].mediaType"),
    "no manifests": (images.index([]).body.replace(b'"manifests"', b'"x"'), OCI_INDEX, "manifests"),
    "a child as a number": (images.index([], descriptors=[1]).body, OCI_INDEX, "manifests[0]"),  # type: ignore[list-item] # the point of the row
    "a subject as text": (changed(subject="x"), OCI_IMAGE, "subject"),
    "a subject without digest": (changed(subject={"mediaType": "a/b", "size": 1}), OCI_IMAGE, "subject.digest"),
    "a foreign layer without urls, unknown": (changed(layers=[descriptor(digest=UNKNOWN, urls=[])]), OCI_IMAGE, None),
    "a type in no form": (image().body, "not a media type", "Content-Type"),
}


@pytest.mark.parametrize("case", BAD)
async def test_a_manifest_that_breaks_the_rules(client: httpx.AsyncClient, repo: str, case: str) -> None:
    body, kind, field = BAD[case]
    await add(client, repo, *image().blobs)
    answer = await store(client, repo, "v1", body, kind)
    detail = error(answer, 400, "MANIFEST_BLOB_UNKNOWN" if field is None else "MANIFEST_INVALID")
    assert detail.get("field") == field
    error(await client.get(f"/v2/{repo}/manifests/v1"), 404, "MANIFEST_UNKNOWN")


@pytest.fixture(scope="module")
def narrow(settings: Settings) -> Settings:
    return msgspec.structs.replace(settings, limits=Limits(manifest_bytes=20_000, json_depth=8, references=5))


async def test_limits(narrow: Settings, repo: str) -> None:
    """Each at its edge: what fits is stored, one more is refused."""
    async with registry(narrow, keeper=False) as running:
        client = running.client
        await add(client, repo, *image().blobs)
        room = 20_000 - len(image(annotations={"fill": ""}).body)
        for fill, status in ((room, 201), (room + 1, 413)):
            answer = await store(client, repo, "size", image(annotations={"fill": "x" * fill}).body, OCI_IMAGE)
            assert answer.status_code == status, answer.text
        error(answer, 413, "SIZE_INVALID")
        for depth, status in ((7, 201), (8, 400)):
            nested = changed().removesuffix(b"}") + b',"x":' + b"[" * depth + b"]" * depth + b"}"
            assert (await store(client, repo, "depth", nested, OCI_IMAGE)).status_code == status
        item = Blob(b"layer", "application/x")
        await add(client, repo, item)
        for count, status in ((5, 201), (6, 400)):
            answer = await store(client, repo, "count", changed(layers=[item.descriptor()] * count), OCI_IMAGE)
            assert answer.status_code == status
        assert error(answer, 400, "MANIFEST_INVALID")["limit"] == 5


async def test_a_body_over_the_limit_without_a_length(client: httpx.AsyncClient, repo: str) -> None:
    sent = 0

    async def endless() -> Any:
        nonlocal sent
        while sent < 64 << 20:
            sent += 65536
            yield b" " * 65536

    answer = await client.put(f"/v2/{repo}/manifests/v1", content=endless(), headers={"Content-Type": OCI_IMAGE})
    error(answer, 413, "SIZE_INVALID")
    assert sent < 6 << 20, "it stops reading at the limit"


async def test_4_mib_is_accepted(client: httpx.AsyncClient, repo: str) -> None:
    await add(client, repo, *image().blobs)
    room = (4 << 20) - len(image(annotations={"fill": ""}).body)
    made = image(annotations={"fill": "x" * room})
    assert len(made.body) == 4 << 20
    assert (await store(client, repo, "v1", made.body, OCI_IMAGE)).status_code == 201
    assert (await client.get(f"/v2/{repo}/manifests/v1")).content == made.body


@pytest.mark.parametrize("field", ["artifactType", "mediaType of the config", "annotations"])
async def test_a_nul_in_a_text(client: httpx.AsyncClient, repo: str, field: str) -> None:
    """No media type has one, and not every database stores it; in an annotation it is just a text, which is kept."""
    await add(client, repo, *image().blobs)
    subject = image().descriptor()
    body = {
        "artifactType": image(artifactType="a/b\0", subject=subject).body,
        "mediaType of the config": changed(config=image().document["config"] | {"mediaType": "a/b\0"}, subject=subject),
        "annotations": image(annotations={"a\0": "b\0"}, subject=subject).body,
    }[field]
    answer = await store(client, repo, "v1", body, OCI_IMAGE)
    if field == "annotations":
        assert answer.status_code == 201
        found = (await client.get(f"/v2/{repo}/referrers/{subject['digest']}")).json()["manifests"]
        assert found[0]["annotations"] == {"a\0": "b\0"}
    else:
        error(answer, 400, "MANIFEST_INVALID")


@pytest.mark.parametrize(
    "path", ["referrers/{}?artifactType=a%00b", "referrers/{}?artifactType=%00", "tags/list?last=%00", "../_catalog?last=%00"]
)
async def test_a_nul_in_a_query(client: httpx.AsyncClient, repo: str, path: str) -> None:
    await apush(client, repo, images.artifact(subject=image()), "v1")
    url = "/v2/_catalog?last=%00" if path.startswith("..") else f"/v2/{repo}/{path.format(image().digest)}"
    answer = await client.get(url)
    assert answer.status_code == 200
    assert "referrers" not in path or answer.json()["manifests"] == []
