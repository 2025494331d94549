"""Image builders: exact bytes, valid for a registry, and what a push of them sends."""

from __future__ import annotations

import gzip
import io
import json
import tarfile

import pytest

from cargohold.content.formats import parse
from cargohold.names import Digest
from cargohold.testing import image as images
from cargohold.testing.image import Image

ALL = {
    "oci": images.image(),
    "docker": images.image(format="docker"),
    "sha512": images.image(algorithm="sha512"),
    "no layers": images.image(layers=0),
    "multi-arch": images.multi_arch(),
    "docker list": images.multi_arch(format="docker"),
    "nested": images.nested_index(depth=3),
    "artifact": images.artifact(subject=images.image()),
    "empty artifact": images.artifact(content=b""),
    "cache": images.cache_index(),
    "foreign": images.foreign(),
    "foreign oci": images.foreign(format="oci"),
}


@pytest.mark.parametrize("name", ALL)
def test_a_registry_can_read_it(name: str) -> None:
    for part in ALL[name].everything():
        assert parse(part.body, part.media_type, depth=64, references=1000).media_type == part.media_type


@pytest.mark.parametrize("name", [name for name in ALL if "foreign" not in name])
def test_everything_it_names_is_in_it(name: str) -> None:
    for part in ALL[name].everything():
        held = {item.digest for item in part.blobs} | {child.digest for child in part.children}
        document = part.document
        entries = [*document.get("layers", []), *document.get("manifests", []), *([document["config"]] if "config" in document else [])]
        assert {entry["digest"] for entry in entries} <= held
        sizes = {item.digest: len(item.content) for item in part.blobs} | {child.digest: len(child.body) for child in part.children}
        assert all(sizes[entry["digest"]] == entry["size"] for entry in entries)


def test_a_foreign_layer_is_not_pushed() -> None:
    image = images.foreign()
    assert image.document["layers"][1]["urls"] and len(image.blobs) == 2


def test_the_same_arguments_make_the_same_bytes_everywhere() -> None:
    """The digest is written down: were it different on another machine, fixtures would be too."""
    assert images.image(layers=1, size=8, seed=7).digest == "sha256:c54966eff35fe94bed7600294cf3a3239f63f7b48836d142ab049066978f970d"
    assert images.image(seed=1).digest != images.image(seed=2).digest


@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 200_000])
def test_layers_can_be_unpacked(size: int) -> None:
    content = images.random_bytes(size, "pack")
    assert gzip.decompress(images.stored_gzip(content)) == content


def test_layers_are_archives_whose_digests_the_config_tells() -> None:
    image = images.image(layers=3, size=100)
    *layers, config = image.blobs
    told = json.loads(config.content)["rootfs"]["diff_ids"]
    for item, diff in zip(layers, told, strict=True):
        plain = gzip.decompress(item.content)
        assert Digest.of(plain) == diff
        with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
            assert [entry.size for entry in tar.getmembers()] == [100]


def test_children_come_before_their_index() -> None:
    parts: list[Image] = list(images.nested_index(depth=2).everything())
    assert [part.media_type for part in parts] == [images.OCI_IMAGE, images.OCI_INDEX, images.OCI_INDEX]


def test_referrers_share_a_subject_and_differ() -> None:
    subject = images.image()
    made = images.referrers(subject, 4)
    assert len({item.digest for item in made}) == 4
    assert all(item.document["subject"]["digest"] == subject.digest for item in made)
