"""A push and a pull over two workers on object storage."""

from __future__ import annotations

import os
from collections.abc import Iterator

import httpx
import pytest

from cargohold.config.settings import MIB
from cargohold.names import Digest
from cargohold.testing.image import image
from cargohold.testing.push import Style, pull, push
from tests.backends.conftest import MakeStage
from tests.backends.gate import Gate
from tests.backends.stage import REPO, SEGMENT, Stage, finish, patch, start, until


def test_images_layers_and_pieces_over_two_workers(stage: Stage) -> None:
    """One server for all that goes well: starting one takes longer than each of these."""
    with stage.on_both_workers() as (one, other):
        images_go_in_and_out(one, other)
        large_layer_in_pieces(one, other)
        whole_body_of_several_segments(one, other)
        ranges_come_out(other)
    until(lambda: not stage.keys("_cargohold/uploads/"), "segments are left behind")
    assert stage.half_done() == []


def images_go_in_and_out(one: httpx.Client, other: httpx.Client) -> None:
    styles: tuple[Style, ...] = ("docker", "containerd", "single")
    for style in styles:
        made = image(layers=4, size=300_000, seed=style)
        digest = push(one, REPO, made, style, style=style)
        assert pull(other, REPO, style).digest == digest == made.digest
    assert other.get(f"/v2/{REPO}/tags/list").json()["tags"] == sorted(styles)


def large_layer_in_pieces(one: httpx.Client, other: httpx.Client) -> None:
    """40 MiB in pieces of many sizes, each on the other worker than the one before."""
    data = os.urandom(40 * MIB)
    location, at = start(one), 0
    for number, size in enumerate((1, SEGMENT, 300_000, SEGMENT - 1, 2 * SEGMENT + 7, 10, 100_000, 4 * MIB, 40 * MIB)):
        piece = data[at : at + size]
        moved = patch((other, one)[number % 2], location, piece, at)
        at += len(piece)
        assert (moved.status_code, moved.headers["Range"]) == (202, f"0-{at - 1}")
    assert finish(one, location, data).status_code == 201
    found = other.get(f"/v2/{REPO}/blobs/{Digest.of(data)}")
    assert (found.status_code, Digest.of(found.content)) == (200, Digest.of(data))


def whole_body_of_several_segments(one: httpx.Client, other: httpx.Client) -> None:
    data = os.urandom(3 * SEGMENT + 11)

    def pieces() -> Iterator[bytes]:
        for begin in range(0, len(data), 1 << 16):
            yield data[begin : begin + (1 << 16)]

    other_bytes = one.post(f"/v2/{REPO}/blobs/uploads/?digest={Digest.of(b'other')}", content=pieces())
    assert (other_bytes.status_code, other_bytes.json()["errors"][0]["code"]) == (400, "DIGEST_INVALID")
    assert one.post(f"/v2/{REPO}/blobs/uploads/?digest={Digest.of(data)}", content=pieces()).status_code == 201
    assert Digest.of(other.get(f"/v2/{REPO}/blobs/{Digest.of(data)}").content) == Digest.of(data)


def ranges_come_out(client: httpx.Client) -> None:
    data = os.urandom(2 * MIB)
    assert client.post(f"/v2/{REPO}/blobs/uploads/?digest={Digest.of(data)}", content=data).status_code == 201
    url = f"/v2/{REPO}/blobs/{Digest.of(data)}"
    part = client.get(url, headers={"Range": "bytes=1000000-1500000"})
    assert (part.status_code, part.content) == (206, data[1_000_000:1_500_001])
    assert client.get(url, headers={"Range": f"bytes={len(data)}-"}).status_code == 416
    head = client.head(url)
    assert (head.status_code, head.headers["Content-Length"]) == (200, str(len(data)))


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_redirects_lead_to_the_bytes(new_stage: MakeStage, bucket: Gate) -> None:
    """A client that follows never gets the body from us; the URL is signed for another host than the one that we use."""
    public = bucket.url.replace("127.0.0.1", "localhost")
    stage = new_stage(STORAGE_REDIRECT="true", STORAGE_S3_PUBLIC_ENDPOINT=public)
    large, small = os.urandom(2 * MIB), os.urandom(1000)
    with stage.program, stage.client() as client:
        for data in (large, small):
            assert client.post(f"/v2/{REPO}/blobs/uploads/?digest={Digest.of(data)}", content=data).status_code == 201
        url = f"/v2/{REPO}/blobs/{Digest.of(large)}"
        moved = client.get(url)
        assert (moved.status_code, moved.headers["Cache-Control"], moved.content) == (307, "no-store", b"")
        assert moved.headers["Location"].startswith(f"{public}/")
        assert httpx.get(moved.headers["Location"], trust_env=False).content == large
        part = client.get(url, headers={"Range": "bytes=10-19"}, follow_redirects=True)
        assert (part.status_code, part.content) == (206, large[10:20])
        assert str(part.url).startswith(public), "a part comes from the bucket too"
        beyond = client.get(url, headers={"Range": f"bytes={len(large)}-"})
        assert (beyond.status_code, beyond.headers["Content-Range"]) == (416, f"bytes */{len(large)}")
        head = client.head(url)
        assert (head.status_code, head.headers["Content-Length"]) == (200, str(len(large)))
        assert client.get(f"/v2/{REPO}/blobs/{Digest.of(small)}").content == small
        assert client.get(f"/v2/team/other/blobs/{Digest.of(large)}").status_code == 404
