"""Referrers (OCI end-12): the list, its filter, its pages, and the fallback tag beside it."""

from __future__ import annotations

import re
from typing import Any

import httpx
import msgspec
import pytest

from cargohold.config.settings import Limits, Settings
from cargohold.names import Digest
from cargohold.testing import image as images
from cargohold.testing.image import EMPTY, OCI_INDEX, Blob, Image, artifact, image, referrers
from cargohold.testing.push import apush
from cargohold.testing.server import registry
from tests.registry.wire import UNKNOWN, error, put_manifest

pytestmark = pytest.mark.asyncio(loop_scope="module")

SBOM, SIGNATURE = "application/vnd.example.sbom", "application/vnd.example.signature"
NEXT = re.compile(r'<([^>]+)>; rel="next"')


async def listed(client: httpx.AsyncClient, repo: str, digest: str, artifact_type: str | None = None) -> list[dict[str, Any]]:
    params = {"artifactType": artifact_type} if artifact_type is not None else {}
    answer = await client.get(f"/v2/{repo}/referrers/{digest}", params=params)
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == OCI_INDEX
    assert answer.headers.get("OCI-Filters-Applied") == ("artifactType" if artifact_type else None)
    body = answer.json()
    assert (body["schemaVersion"], body["mediaType"]) == (2, OCI_INDEX)
    found: list[dict[str, Any]] = body["manifests"]
    return found


def entry(item: Image, artifact_type: str | None) -> dict[str, Any]:
    annotations = item.document.get("annotations")
    return (
        item.descriptor()
        | ({"artifactType": artifact_type} if artifact_type else {})
        | ({"annotations": annotations} if annotations else {})
    )


async def test_nothing_refers_to_it(client: httpx.AsyncClient, repo: str) -> None:
    """Also in a repository that is not there: a 404 would tell clients that there is no such API."""
    for _ in range(2):
        for digest in (UNKNOWN, "sha256:" + "0" * 64, Digest.of(b"x", "sha512")):
            assert await listed(client, repo, digest) == []
            assert await listed(client, repo, digest, SBOM) == []
        await apush(client, repo, image(), "v1")
    head = await client.head(f"/v2/{repo}/referrers/{UNKNOWN}")
    assert (head.status_code, head.content, head.headers["Content-Type"]) == (200, b"", OCI_INDEX)


@pytest.mark.parametrize("digest", ["sha256:totallywrong", "latest", "sha256:" + "A" * 64, "md5:" + "a" * 32])
async def test_a_subject_that_is_no_digest(client: httpx.AsyncClient, repo: str, digest: str) -> None:
    error(await client.get(f"/v2/{repo}/referrers/{digest}"), 400, "DIGEST_INVALID")


async def test_the_conformance_suites_five(client: httpx.AsyncClient, repo: str) -> None:
    """Image manifests and an index, each with its annotation; the filter finds two."""
    subject = image(seed=repo)
    await apush(client, repo, subject, "v1")
    config = Blob(b'{"x": 1}', SIGNATURE)
    typed_by_config = images.manifest(
        {"schemaVersion": 2, "config": config.descriptor(), "layers": [], "subject": subject.descriptor(), "annotations": {"n": "3"}},
        images.OCI_IMAGE,
        [config],
    )
    five = [
        (artifact(SBOM, seed=1, subject=subject, annotations={"n": "1"}), SBOM),
        (artifact(SBOM, content=b"", subject=subject, annotations={"n": "2"}), SBOM),
        (typed_by_config, SIGNATURE),
        (images.index([], subject=subject.descriptor(), artifactType=SIGNATURE, annotations={"n": "4"}), SIGNATURE),
        (images.index([], subject=subject.descriptor(), annotations={"n": "5"}), None),
    ]
    for made, _ in five:
        answer = await put_manifest(client, repo, made.digest, made)
        assert (answer.status_code, answer.headers["OCI-Subject"]) == (201, subject.digest)
    found = await listed(client, repo, subject.digest)
    assert sorted(found, key=lambda item: item["digest"]) == sorted((entry(*pair) for pair in five), key=lambda item: item["digest"])
    for wanted in (SBOM, SIGNATURE):
        expected = {made.digest for made, kind in five if kind == wanted}
        assert {item["digest"] for item in await listed(client, repo, subject.digest, wanted)} == expected
    assert await listed(client, repo, subject.digest, "application/vnd.nothing") == []
    assert await listed(client, repo, subject.digest, SBOM.upper()) == []


async def test_an_empty_filter_is_none(client: httpx.AsyncClient, repo: str) -> None:
    subject = image(seed=repo)
    await apush(client, repo, artifact(subject=subject))
    answer = await client.get(f"/v2/{repo}/referrers/{subject.digest}?artifactType=")
    assert len(answer.json()["manifests"]) == 1 and "OCI-Filters-Applied" not in answer.headers


async def test_a_subject_may_be_absent_and_may_come_later(client: httpx.AsyncClient, repo: str) -> None:
    subject = image(seed=repo)
    digest = await apush(client, repo, artifact(subject=subject))
    assert [item["digest"] for item in await listed(client, repo, subject.digest)] == [digest]
    await apush(client, repo, subject, "v1")
    await client.delete(f"/v2/{repo}/manifests/{subject.digest}")
    assert [item["digest"] for item in await listed(client, repo, subject.digest)] == [digest]


async def test_a_deleted_referrer_is_gone_at_once(client: httpx.AsyncClient, repo: str) -> None:
    subject = image(seed=repo)
    one, two = [await apush(client, repo, item) for item in referrers(subject, 2)]
    assert (await client.delete(f"/v2/{repo}/manifests/{one}")).status_code == 202
    assert [item["digest"] for item in await listed(client, repo, subject.digest)] == [two]
    await client.delete(f"/v2/{repo}/manifests/{two}")
    assert await listed(client, repo, subject.digest) == []


async def test_referrers_are_of_their_repository(client: httpx.AsyncClient, repo: str) -> None:
    subject = image(seed=repo)
    await apush(client, repo, artifact(subject=subject))
    assert await listed(client, f"{repo}/other", subject.digest) == []


async def test_a_subject_by_sha512(client: httpx.AsyncClient, repo: str) -> None:
    subject = image(seed=repo, algorithm="sha512")
    digest = await apush(client, repo, artifact(subject=subject))
    assert [item["digest"] for item in await listed(client, repo, subject.digest)] == [digest]


async def test_docker_images_have_no_subject(client: httpx.AsyncClient, repo: str) -> None:
    subject = image(seed=repo)
    answer = await put_manifest(client, repo, "v1", image(format="docker", subject=subject.descriptor()))
    assert answer.status_code == 201 and "OCI-Subject" not in answer.headers
    assert await listed(client, repo, subject.digest) == []


async def test_pages(settings: Settings, repo: str) -> None:
    narrow = msgspec.structs.replace(settings, limits=Limits(referrers_page=2))
    async with registry(narrow, keeper=False) as running:
        subject = image(seed=repo)
        pushed = {await apush(running.client, repo, item) for item in referrers(subject, 5)}
        other = await apush(running.client, repo, artifact(SIGNATURE, subject=subject))
        for query, expected in (("", pushed | {other}), (f"?artifactType={SBOM}", pushed)):
            url, found, pages = f"/v2/{repo}/referrers/{subject.digest}{query}", [], 0
            while url:
                answer = await running.client.get(url)
                found += [item["digest"] for item in answer.json()["manifests"]]
                pages += 1
                assert bool(query) == ("OCI-Filters-Applied" in answer.headers)
                match = NEXT.fullmatch(answer.headers.get("Link", ""))
                url = match[1] if match else ""
            assert sorted(found) == sorted(expected) and pages == 3


async def test_large_annotations_make_shorter_pages(client: httpx.AsyncClient, repo: str) -> None:
    """An answer stays within a few MiB, whatever people annotate; every page has one at least."""
    subject = image(seed=repo)
    pushed = [await apush(client, repo, artifact(seed=n, subject=subject, annotations={"x": "y" * 1_500_000})) for n in range(5)]
    pushed.append(await apush(client, repo, artifact(seed=5, subject=subject, annotations={"x": "y" * 4_190_000})))
    url, pages = f"/v2/{repo}/referrers/{subject.digest}", []
    while url:
        answer = await client.get(url)
        assert len(answer.content) < 4_200_000 + 1000
        pages.append([item["digest"] for item in answer.json()["manifests"]])
        match = NEXT.fullmatch(answer.headers.get("Link", ""))
        url = match[1] if match else ""
    assert [digest for page in pages for digest in page] == pushed
    assert [len(page) for page in pages] == [2, 2, 1, 1]


def fallback(subject: Image) -> str:
    return f"{subject.digest.algorithm}-{subject.digest.encoded[:64]}"


async def test_the_fallback_tag_of_an_older_client_counts(client: httpx.AsyncClient, repo: str) -> None:
    """A client without the API keeps an index under a tag; what it lists is in the answer, once."""
    subject, one, two = image(seed=repo), *referrers(image(seed=repo), 2)
    for item in (one, two):
        await apush(client, repo, item)
    await apush(client, repo, images.index([one], descriptors=[entry(one, SBOM)]), fallback(subject))
    found = [item["digest"] for item in await listed(client, repo, subject.digest)]
    assert sorted(found) == sorted([one.digest, two.digest])


async def test_the_fallback_tag_is_kept_in_step(client: httpx.AsyncClient, repo: str) -> None:
    subject = image(seed=repo)
    one, two, three = referrers(subject, 3)
    await apush(client, repo, one)
    await apush(client, repo, images.index([one], descriptors=[entry(one, SBOM)]), fallback(subject))
    await apush(client, repo, two)
    assert await at_tag(client, repo, fallback(subject)) == {one.digest, two.digest}
    await client.delete(f"/v2/{repo}/manifests/{one.digest}")
    assert await at_tag(client, repo, fallback(subject)) == {two.digest}
    await apush(client, repo, three)
    assert await at_tag(client, repo, fallback(subject)) == {two.digest, three.digest}


async def test_a_fallback_tag_that_has_outgrown_a_manifest_stays(client: httpx.AsyncClient, repo: str) -> None:
    """The push is fine, the API tells of all; only the list for older clients no longer grows."""
    subject = image(seed=repo)
    one = artifact(seed=1, subject=subject, annotations={"x": "y" * 3_000_000})
    await apush(client, repo, one)
    await apush(client, repo, images.index([one], descriptors=[one.descriptor()]), fallback(subject))
    two, three = (artifact(seed=n, subject=subject, annotations={"x": "y" * 3_000_000}) for n in (2, 3))
    for item in (two, three):
        await apush(client, repo, item)
    assert await at_tag(client, repo, fallback(subject)) == {one.digest, two.digest}


async def at_tag(client: httpx.AsyncClient, repo: str, tag: str) -> set[str]:
    answer = await client.get(f"/v2/{repo}/manifests/{tag}")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, OCI_INDEX)
    return {item["digest"] for item in answer.json()["manifests"]}


async def test_an_empty_config_is_no_artifact_type(client: httpx.AsyncClient, repo: str) -> None:
    """Without `artifactType` the type of the config stands for it, also that of the empty one."""
    subject, config = image(seed=repo), Blob(b"{}", EMPTY)
    made = images.manifest(
        {"schemaVersion": 2, "config": config.descriptor(), "layers": [], "subject": subject.descriptor()}, images.OCI_IMAGE, [config]
    )
    await put_manifest(client, repo, made.digest, made)
    assert [item["artifactType"] for item in await listed(client, repo, subject.digest)] == [EMPTY]
