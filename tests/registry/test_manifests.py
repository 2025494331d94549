"""Manifests: put, get, head and delete by tag and digest; what is accepted as it is, and how a client's Accept is answered."""

from __future__ import annotations

import json

import httpx
import pytest

from cargohold.names import Digest
from cargohold.testing import image as images
from cargohold.testing.image import DOCKER_IMAGE, DOCKER_LIST, OCI_IMAGE, OCI_INDEX, Image, image, multi_arch
from cargohold.testing.push import ACCEPT, apull, apush
from tests.registry.wire import UNKNOWN, add, error, put_manifest, store

pytestmark = pytest.mark.asyncio(loop_scope="module")

KINDS = {
    "oci image": image(),
    "docker image": image(format="docker"),
    "no layers": image(layers=0),
    "the same layer twice": images.manifest(
        image(layers=1).document | {"layers": image(layers=1).document["layers"] * 2}, OCI_IMAGE, image(layers=1).blobs
    ),
    "oci index": multi_arch(),
    "docker list": multi_arch(format="docker"),
    "index of nothing": images.index([]),
    "nested index": images.nested_index(depth=3),
    "index with artifactType": images.index([image()], artifactType="application/vnd.example"),
    "index with subject": images.index([image()], subject=image(seed="subject").descriptor()),
    "artifact": images.artifact(),
    "artifact of nothing": images.artifact(content=b""),
    "artifact with a subject nobody has": images.artifact(subject=image(seed="absent")),
    "foreign docker layer": images.foreign(),
    "foreign oci layer": images.foreign(format="oci"),
    "buildkit cache": images.cache_index(),
    "sha512 image": image(algorithm="sha512"),
    "custom fields": image(custom={"a": [1, 2.5, None]}, annotations={"org.example": "äöü 仓库"}),
    "unknown config and layers": images.manifest(
        {
            "schemaVersion": 2,
            "config": images.Blob(b"{}", "application/vnd.unknown.config").descriptor(data="e30="),
            "layers": [images.Blob(b"model", "application/vnd.unknown.weights").descriptor()],
        },
        OCI_IMAGE,
        [images.Blob(b"{}"), images.Blob(b"model")],
    ),
}


@pytest.mark.parametrize("kind", KINDS)
async def test_every_kind_comes_back_as_it_went(client: httpx.AsyncClient, repo: str, kind: str) -> None:
    made = KINDS[kind]
    for child in made.children:
        await apush(client, repo, child)
    stored = await put_manifest(client, repo, "v1", made)
    digest = Digest.of(made.body)
    assert stored.status_code == 201, stored.text
    assert stored.headers["Location"] == f"/v2/{repo}/manifests/{digest}"
    assert stored.headers["Docker-Content-Digest"] == digest
    assert (stored.content, stored.headers["Content-Length"]) == (b"", "0")
    subject = made.document.get("subject")
    assert stored.headers.get("OCI-Subject") == (subject["digest"] if subject else None)
    for reference in ("v1", digest):
        for method in ("GET", "HEAD"):
            answer = await client.request(method, f"/v2/{repo}/manifests/{reference}", headers={"Accept": ACCEPT})
            assert answer.status_code == 200
            assert answer.content == (made.body if method == "GET" else b"")
            assert answer.headers["Content-Type"] == made.media_type
            assert answer.headers["Content-Length"] == str(len(made.body))
            assert answer.headers["Docker-Content-Digest"] == digest
            assert answer.headers["ETag"] == f'"{digest}"'
    assert (await apull(client, repo, "v1")).body == made.body


async def test_a_manifest_by_sha512_goes_by_that_name(client: httpx.AsyncClient, repo: str) -> None:
    made = image(algorithm="sha512", seed=repo)
    stored = await put_manifest(client, repo, made.digest, made)
    assert (stored.status_code, stored.headers["Docker-Content-Digest"]) == (201, made.digest)
    assert (await client.get(f"/v2/{repo}/manifests/{made.digest}")).content == made.body


async def test_bytes_are_kept_to_the_last_blank(client: httpx.AsyncClient, repo: str) -> None:
    await add(client, repo, *image().blobs)
    body = json.dumps(image().document, indent=7).encode() + b"\n\n"
    assert (await store(client, repo, "v1", body, OCI_IMAGE)).status_code == 201
    assert (await client.get(f"/v2/{repo}/manifests/v1")).content == body


async def test_the_same_again_is_created_again_and_a_tag_moves(client: httpx.AsyncClient, repo: str) -> None:
    one, two = image(seed=(repo, 1)), image(seed=(repo, 2))
    for made in (one, one, two):
        assert (await put_manifest(client, repo, "v1", made)).status_code == 201
    assert (await client.get(f"/v2/{repo}/manifests/v1")).content == two.body
    assert (await client.get(f"/v2/{repo}/manifests/{one.digest}")).content == one.body


async def test_two_tags_of_one_manifest(client: httpx.AsyncClient, repo: str) -> None:
    for tag in ("v1", "latest", "V1", "_x.y-z", "t" * 128, "sha256-" + "a" * 64):
        assert (await put_manifest(client, repo, tag, image())).status_code == 201
    assert len((await client.get(f"/v2/{repo}/tags/list")).json()["tags"]) == 6


async def test_a_digest_in_the_path_must_be_that_of_the_body(client: httpx.AsyncClient, repo: str) -> None:
    error(await put_manifest(client, repo, UNKNOWN, image()), 400, "DIGEST_INVALID")
    error(await client.get(f"/v2/{repo}/manifests/{UNKNOWN}"), 404, "MANIFEST_UNKNOWN")
    error(await client.get(f"/v2/{repo}/manifests/{image().digest}"), 404, "MANIFEST_UNKNOWN")


NOT_REFERENCES = [
    "sha256:totallywrong",
    "sha256:baddigeststring",
    ".hidden",
    "-dash",
    "t" * 129,
    "a b",
    "a%00b",
    "%E4%BB%93",
    "a+b",
    "sha256:",
]


@pytest.mark.parametrize("reference", NOT_REFERENCES)
async def test_a_reference_that_is_none(client: httpx.AsyncClient, repo: str, reference: str) -> None:
    """The conformance suite wants a code of the specification's list with a 400, and 400 for a PUT."""
    code = "DIGEST_INVALID" if ":" in reference else "MANIFEST_INVALID"
    for method in ("GET", "HEAD", "DELETE"):
        error(await client.request(method, f"/v2/{repo}/manifests/{reference}"), 400, code)
    error(await put_manifest(client, repo, reference, image()), 400, code)


async def test_unknown_manifests(client: httpx.AsyncClient, repo: str) -> None:
    for _ in range(2):
        for reference in ("latest", UNKNOWN):
            for method in ("GET", "HEAD"):
                error(await client.request(method, f"/v2/{repo}/manifests/{reference}"), 404, "MANIFEST_UNKNOWN")
            error(await client.delete(f"/v2/{repo}/manifests/{reference}"), 404, "MANIFEST_UNKNOWN")
        await apush(client, repo, image(), "other")


async def test_a_manifest_is_no_blob_and_a_blob_no_manifest(client: httpx.AsyncClient, repo: str) -> None:
    digest = await apush(client, repo, image(), "v1")
    error(await client.get(f"/v2/{repo}/blobs/{digest}"), 404, "BLOB_UNKNOWN")
    error(await client.get(f"/v2/{repo}/manifests/{image().blobs[0].digest}"), 404, "MANIFEST_UNKNOWN")


async def test_a_manifest_of_another_repository_is_not_there(client: httpx.AsyncClient, repo: str) -> None:
    digest = await apush(client, repo, image(), "v1")
    error(await client.get(f"/v2/{repo}/other/manifests/{digest}"), 404, "MANIFEST_UNKNOWN")


async def test_untagging_leaves_the_manifest_and_its_other_tags(client: httpx.AsyncClient, repo: str) -> None:
    digest = await apush(client, repo, image(), "v1")
    await apush(client, repo, image(), "v2")
    gone = await client.delete(f"/v2/{repo}/manifests/v1")
    assert (gone.status_code, gone.content) == (202, b"")
    error(await client.get(f"/v2/{repo}/manifests/v1"), 404, "MANIFEST_UNKNOWN")
    error(await client.delete(f"/v2/{repo}/manifests/v1"), 404, "MANIFEST_UNKNOWN")
    assert (await client.head(f"/v2/{repo}/manifests/{digest}")).status_code == 200
    assert (await client.get(f"/v2/{repo}/tags/list")).json()["tags"] == ["v2"]


async def test_deleting_a_manifest_takes_its_tags_and_nothing_else(client: httpx.AsyncClient, repo: str) -> None:
    made = multi_arch(seed=repo)
    digest = await apush(client, repo, made, "v1")
    await apush(client, repo, made, "v2")
    kept = await apush(client, repo, image(seed=repo), "kept")
    assert (await client.delete(f"/v2/{repo}/manifests/{digest}")).status_code == 202
    for reference in (digest, "v1", "v2"):
        for method in ("GET", "HEAD"):
            error(await client.request(method, f"/v2/{repo}/manifests/{reference}"), 404, "MANIFEST_UNKNOWN")
    error(await client.delete(f"/v2/{repo}/manifests/{digest}"), 404, "MANIFEST_UNKNOWN")
    assert (await client.get(f"/v2/{repo}/tags/list")).json()["tags"] == ["kept"]
    assert (await client.head(f"/v2/{repo}/manifests/{kept}")).status_code == 200
    for child in made.children:
        assert (await apull(client, repo, child.digest)).digest == child.digest
    await apush(client, repo, made, "v1")
    assert (await apull(client, repo, "v1")).digest == digest


ASKED = ["", "*/*", "application/json", OCI_IMAGE, DOCKER_IMAGE, "text/html", f"{DOCKER_IMAGE};q=0.5, {OCI_INDEX};q=0.1", "nonsense"]


@pytest.mark.parametrize("accept", ASKED)
@pytest.mark.parametrize("kind", ["oci image", "docker image", "oci index"])
async def test_stored_bytes_are_served_whatever_is_accepted(client: httpx.AsyncClient, repo: str, kind: str, accept: str) -> None:
    made = KINDS[kind]
    digest = await apush(client, repo, made, "v1")
    for reference in ("v1", digest):
        answer = await client.get(f"/v2/{repo}/manifests/{reference}", headers={"Accept": accept})
        assert (answer.status_code, answer.content, answer.headers["Content-Type"]) == (200, made.body, made.media_type)


async def test_a_docker_list_by_tag_is_its_linux_amd64_for_who_knows_no_lists(client: httpx.AsyncClient, repo: str) -> None:
    made = multi_arch(format="docker", seed=repo)
    digest = await apush(client, repo, made, "v1")
    amd64 = made.children[0]
    for accept in ("", "*/*", DOCKER_IMAGE, f"{OCI_IMAGE}, {DOCKER_IMAGE}"):
        for method in ("GET", "HEAD"):
            answer = await client.request(method, f"/v2/{repo}/manifests/v1", headers={"Accept": accept})
            assert answer.headers["Docker-Content-Digest"] == amd64.digest
            assert answer.headers["Content-Type"] == DOCKER_IMAGE
    for accept in (DOCKER_LIST, f"{OCI_INDEX};q=0.9, {DOCKER_IMAGE}", ACCEPT):
        assert (await client.get(f"/v2/{repo}/manifests/v1", headers={"Accept": accept})).content == made.body
    assert (await client.get(f"/v2/{repo}/manifests/{digest}", headers={"Accept": DOCKER_IMAGE})).content == made.body


async def test_a_docker_list_without_linux_amd64_is_served_itself(client: httpx.AsyncClient, repo: str) -> None:
    made = multi_arch(format="docker", platforms=(("linux", "arm64"), ("windows", "amd64")))
    await apush(client, repo, made, "v1")
    assert (await client.get(f"/v2/{repo}/manifests/v1")).content == made.body


async def test_two_accept_lines_are_one_list(client: httpx.AsyncClient, repo: str) -> None:
    made = multi_arch(format="docker", seed=repo)
    await apush(client, repo, made, "v1")
    headers = [("Accept", DOCKER_IMAGE), ("Accept", DOCKER_LIST)]
    assert (await client.get(f"/v2/{repo}/manifests/v1", headers=headers)).content == made.body


@pytest.mark.parametrize("spelling", ['"{}"', "{}", 'W/"{}"', '"sha256:x", "{}"', "*"])
async def test_not_modified(client: httpx.AsyncClient, repo: str, spelling: str) -> None:
    digest = await apush(client, repo, image(), "v1")
    for reference in ("v1", digest):
        for method in ("GET", "HEAD"):
            answer = await client.request(method, f"/v2/{repo}/manifests/{reference}", headers={"If-None-Match": spelling.format(digest)})
            assert (answer.status_code, answer.content, answer.headers["ETag"]) == (304, b"", f'"{digest}"')
    await apush(client, repo, image(seed="moved"), "v1")
    assert (await client.get(f"/v2/{repo}/manifests/v1", headers={"If-None-Match": f'"{digest}"'})).status_code == 200


async def test_a_range_of_a_manifest_is_the_whole(client: httpx.AsyncClient, repo: str) -> None:
    await apush(client, repo, image(), "v1")
    answer = await client.get(f"/v2/{repo}/manifests/v1", headers={"Range": "bytes=0-9"})
    assert (answer.status_code, answer.content) == (200, image().body)


@pytest.mark.parametrize(
    "header", ["application/json", "", None, "application/octet-stream", "text/plain", "APPLICATION/JSON; charset=utf-8"]
)
@pytest.mark.parametrize("kind", ["oci image", "docker image", "oci index", "docker list"])
async def test_the_body_tells_its_type_where_the_header_does_not(
    client: httpx.AsyncClient, repo: str, kind: str, header: str | None
) -> None:
    made = KINDS[kind]
    for child in made.children:
        await apush(client, repo, child)
    await add(client, repo, *made.blobs)
    stored = await store(client, repo, "v1", made.body, header)
    assert stored.status_code == 201, stored.text
    assert (await client.get(f"/v2/{repo}/manifests/v1", headers={"Accept": ACCEPT})).headers["Content-Type"] == made.media_type


@pytest.mark.parametrize(("kind", "expected"), [("oci image", OCI_IMAGE), ("oci index", OCI_INDEX)])
async def test_without_any_type_the_shape_decides(client: httpx.AsyncClient, repo: str, kind: str, expected: str) -> None:
    made = KINDS[kind]
    for child in made.children:
        await apush(client, repo, child)
    bare = images.manifest(made.document | {"mediaType": None}, made.media_type, made.blobs)
    await add(client, repo, *bare.blobs)
    for header in (None, expected, f"{expected}; charset=utf-8"):
        assert (await store(client, repo, "v1", bare.body, header)).status_code == 201
        assert (await client.get(f"/v2/{repo}/manifests/v1")).headers["Content-Type"] == expected


async def test_a_query_that_means_nothing_is_passed_over(client: httpx.AsyncClient, repo: str) -> None:
    made: Image = image()
    await add(client, repo, *made.blobs)
    url = f"/v2/{repo}/manifests/v1?ns=docker.io&x=%zz"
    assert (await client.put(url, content=made.body, headers={"Content-Type": made.media_type})).status_code == 201
