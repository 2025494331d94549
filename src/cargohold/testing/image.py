"""Exact bytes of what registries store; the same arguments make the same digests, on every machine.

    image()        config and layers, OCI or docker schema 2     index()        OCI index or docker list of anything
    multi_arch()   an index of one image per platform            artifact()     empty config, `artifactType`, maybe a subject
    referrers()    artifacts that name a subject                 cache_index()  BuildKit's cache: an index whose children are blobs
    foreign()      a layer with `urls` that nobody pushes

Layers are real tars (gzip, stored), so that a client may unpack them. An `Image` holds all that a push of it sends, in order.
"""

from __future__ import annotations

import hashlib
import io
import json
import random
import struct
import tarfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from cargohold.names import Digest

Format = Literal["oci", "docker"]
Members = dict[str, Any]

OCI_IMAGE = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_IMAGE = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
EMPTY = "application/vnd.oci.empty.v1+json"
_FORMATS: dict[Format, tuple[str, str, str, str]] = {
    "oci": (OCI_IMAGE, OCI_INDEX, "application/vnd.oci.image.config.v1+json", "application/vnd.oci.image.layer.v1.tar+gzip"),
    "docker": (
        DOCKER_IMAGE,
        DOCKER_LIST,
        "application/vnd.docker.container.image.v1+json",
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
    ),
}
PLATFORMS = (("linux", "amd64"), ("linux", "arm64"))


@dataclass(frozen=True)
class Blob:
    content: bytes
    media_type: str = "application/octet-stream"
    algorithm: str = "sha256"

    @property
    def digest(self) -> Digest:
        return Digest.of(self.content, self.algorithm)

    def descriptor(self, **members: Any) -> Members:
        return {"mediaType": self.media_type, "digest": self.digest, "size": len(self.content), **members}


@dataclass(frozen=True)
class Image:
    """A manifest of any kind with the blobs and manifests that must be there before it."""

    body: bytes
    media_type: str
    blobs: tuple[Blob, ...] = ()
    children: tuple[Image, ...] = ()
    algorithm: str = "sha256"
    document: Members = field(default_factory=dict, compare=False)

    @property
    def digest(self) -> Digest:
        return Digest.of(self.body, self.algorithm)

    def descriptor(self, **members: Any) -> Members:
        return {"mediaType": self.media_type, "digest": self.digest, "size": len(self.body), **members}

    def everything(self) -> Iterator[Image]:
        """Children before parents, itself last."""
        for child in self.children:
            yield from child.everything()
        yield self


def manifest(
    document: Members, media_type: str, blobs: Iterable[Blob] = (), children: Iterable[Image] = (), algorithm: str = "sha256"
) -> Image:
    """Any document as a manifest; absent members are those with the value None."""
    whole = {name: value for name, value in document.items() if value is not None}
    body = json.dumps(whole, separators=(",", ":"), ensure_ascii=False).encode()
    return Image(body, media_type, tuple(blobs), tuple(children), algorithm, whole)


def random_bytes(size: int, seed: object) -> bytes:
    return random.Random(repr(seed)).randbytes(size)  # noqa: S311 # content to store, not a secret


def blob(size: int, seed: object = 0, *, algorithm: str = "sha256") -> Blob:
    return Blob(random_bytes(size, ("blob", size, seed)), algorithm=algorithm)


def stored_gzip(content: bytes) -> bytes:
    """gzip without compression, built by hand (RFC 1951 section 3.2.4, RFC 1952): compressors differ in their bytes."""
    pieces = [content[start : start + 0xFFFF] for start in range(0, len(content), 0xFFFF)] or [b""]
    blocks = [struct.pack("<BHH", piece is pieces[-1], len(piece), len(piece) ^ 0xFFFF) + piece for piece in pieces]
    return b"\x1f\x8b\x08" + bytes(6) + b"\xff" + b"".join(blocks) + struct.pack("<II", zlib.crc32(content), len(content) & 0xFFFFFFFF)


def layer(size: int, seed: object, media_type: str, *, algorithm: str = "sha256") -> tuple[Blob, str]:
    """A gzipped tar with one file of `size` random bytes, and the digest of the tar (its diff id)."""
    content = random_bytes(size, ("layer", size, seed))
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        entry = tarfile.TarInfo(f"data-{hashlib.sha256(content).hexdigest()[:12]}")
        entry.size = size
        tar.addfile(entry, io.BytesIO(content))
    plain = packed.getvalue()
    return Blob(stored_gzip(plain), media_type, algorithm), Digest.of(plain)


def image(
    *,
    layers: int = 2,
    size: int = 1024,
    seed: object = 0,
    format: Format = "oci",
    platform: tuple[str, str] = PLATFORMS[0],
    algorithm: str = "sha256",
    **members: Any,
) -> Image:
    """`members` go into the manifest as they are (`annotations`, `subject`, `artifactType`, ...)."""
    manifest_type, _, config_type, layer_type = _FORMATS[format]
    made = [layer(size, (seed, number), layer_type, algorithm=algorithm) for number in range(layers)]
    config = {
        "architecture": platform[1],
        "os": platform[0],
        "created": "2024-01-01T00:00:00Z",
        "config": {"Cmd": ["/true"], "Labels": {"seed": repr(seed)}},
        "rootfs": {"type": "layers", "diff_ids": [diff for _, diff in made]},
        "history": [{"created": "2024-01-01T00:00:00Z", "created_by": f"layer {number}"} for number in range(layers)],
    }
    head = Blob(json.dumps(config, separators=(",", ":")).encode(), config_type, algorithm)
    blobs = [item for item, _ in made]
    document = {
        "schemaVersion": 2,
        "mediaType": manifest_type,
        "config": head.descriptor(),
        "layers": [item.descriptor() for item in blobs],
        **members,
    }
    return manifest(document, manifest_type, [*blobs, head], algorithm=algorithm)


def index(children: Sequence[Image], *, format: Format = "oci", descriptors: Sequence[Members] | None = None, **members: Any) -> Image:
    """`descriptors` replace those of the children."""
    entries = descriptors if descriptors is not None else [child.descriptor() for child in children]
    media_type = _FORMATS[format][1]
    return manifest({"schemaVersion": 2, "mediaType": media_type, "manifests": list(entries), **members}, media_type, (), children)


def multi_arch(
    *,
    platforms: Sequence[tuple[str, str]] = PLATFORMS,
    seed: object = 0,
    format: Format = "oci",
    layers: int = 2,
    size: int = 1024,
) -> Image:
    children = [image(layers=layers, size=size, seed=(seed, platform), format=format, platform=platform) for platform in platforms]
    entries = [
        child.descriptor(platform={"os": platform[0], "architecture": platform[1]})
        for child, platform in zip(children, platforms, strict=True)
    ]
    return index(children, format=format, descriptors=entries)


def nested_index(*, depth: int = 2, seed: object = 0) -> Image:
    """`depth` indexes around one image."""
    inner = image(seed=seed)
    for _ in range(depth):
        inner = index([inner])
    return inner


def artifact(
    artifact_type: str = "application/vnd.example.sbom",
    *,
    content: bytes | None = None,
    seed: object = 0,
    subject: Image | Members | None = None,
    annotations: Mapping[str, str] | None = None,
) -> Image:
    """An artifact by the guidance of the OCI image specification: empty config, one layer, or the empty blob when `content` is b""."""
    empty = Blob(b"{}", EMPTY)
    body = random_bytes(64, ("artifact", seed)) if content is None else content
    held = Blob(body, "application/octet-stream") if body else empty
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_IMAGE,
        "artifactType": artifact_type,
        "config": empty.descriptor(data="e30="),
        "layers": [held.descriptor()],
        "subject": subject.descriptor() if isinstance(subject, Image) else subject,
        "annotations": dict(annotations) if annotations else None,
    }
    return manifest(document, OCI_IMAGE, [empty] if held is empty else [empty, held])


def referrers(subject: Image | Members, count: int = 3, *, artifact_type: str = "application/vnd.example.sbom") -> list[Image]:
    """`count` artifacts of one type, told apart by an annotation."""
    return [artifact(artifact_type, seed=number, subject=subject, annotations={"number": str(number)}) for number in range(count)]


def cache_index(*, layers: int = 2, seed: object = 0) -> Image:
    """What BuildKit writes for `--cache-to type=registry,image-manifest=false`: the children are layers and a cache config."""
    made = [layer(512, ("cache", seed, number), _FORMATS["oci"][3])[0] for number in range(layers)]
    records = {"layers": [{"blob": item.digest, "parent": -1} for item in made], "records": [{"digest": made[0].digest}]}
    config = Blob(json.dumps(records).encode(), "application/vnd.buildkit.cacheconfig.v0")
    blobs = [*made, config]
    document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [item.descriptor() for item in blobs]}
    return manifest(document, OCI_INDEX, blobs)


def foreign(*, format: Format = "docker", seed: object = 0) -> Image:
    """An image whose second layer has `urls` and is not among the blobs that a push sends."""
    media_type = {
        "docker": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "oci": "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
    }[format]
    base = image(layers=1, seed=("foreign", seed), format=format)
    elsewhere = Blob(random_bytes(256, ("elsewhere", seed)), media_type)
    document = dict(base.document)
    document["layers"] = [*document["layers"], elsewhere.descriptor(urls=["https://example.com/layer.tar.gz"])]
    return manifest(document, base.media_type, base.blobs)
