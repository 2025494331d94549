"""The same bytes for everybody.

Images go through each server's API. The 10,000 tags and 2,000 repositories of the list rows are written where each side keeps
them: folders of its tree for docker-registry, rows for us. nginx gets hard links to the blobs of docker-registry, in folders
named like the URLs.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
from itertools import repeat
from pathlib import Path

import msgspec

from bench import seed_rows
from bench.clients import MIB
from bench.servers import MANIFEST, Server

APP, TAGS = "bench/app", "bench/tags"
TAG_COUNT, REPOSITORY_COUNT, COLD_COUNT = 10_000, 2_000, 64


class Seed(msgspec.Struct, frozen=True):
    """What every server holds in `bench/app`: digests by name, bytes by digest."""

    digests: dict[str, str]
    """config, 4k, 1m, 2m, 100m, manifest (tag `latest`), small (a manifest of config and 4k, for the list rows)."""
    bodies: dict[str, bytes]
    cold: list[str]

    def body(self, name: str) -> bytes:
        return self.bodies[self.digests[name]]


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _descriptor(data: bytes, kind: str) -> dict[str, object]:
    return {"mediaType": kind, "digest": digest_of(data), "size": len(data)}


def manifest(config: bytes, layers: list[bytes], **annotations: str) -> bytes:
    document: dict[str, object] = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": _descriptor(config, "application/vnd.oci.image.config.v1+json"),
        "layers": [_descriptor(layer, "application/vnd.oci.image.layer.v1.tar+gzip") for layer in layers],
    }
    if annotations:
        document["annotations"] = annotations
    return json.dumps(document).encode()


def make() -> Seed:
    config = json.dumps({"architecture": "amd64", "os": "linux", "pad": os.urandom(700).hex()}).encode()
    layers = {"4k": os.urandom(4096), "1m": os.urandom(MIB), "2m": os.urandom(2 * MIB), "100m": os.urandom(MIB) * 100}
    named = {"config": config, **layers}
    named["manifest"] = manifest(config, list(layers.values()), pad="x" * 1100)
    named["small"] = manifest(config, [layers["4k"]])
    cold = [os.urandom(MIB) for _ in range(COLD_COUNT)]
    digests = {name: digest_of(data) for name, data in named.items()}
    bodies = {digests[name]: data for name, data in named.items()} | {digest_of(data): data for data in cold}
    return Seed(digests, bodies, [digest_of(data) for data in cold])


def plan(path: Path, count: int) -> None:
    """Images for the pusher (push.c tells the format): config of 1.5 KB, two layers of 4 KB, manifest."""
    with path.open("wb") as out:
        for _ in range(count):
            config, first, second = b'{"pad":"' + os.urandom(750).hex().encode() + b'"}', os.urandom(4096), os.urandom(4096)
            for data in (config, first, second, manifest(config, [first, second])):
                out.write(digest_of(data).encode() + len(data).to_bytes(4, "big") + data)


class Pusher:
    """Blobs and manifests through the API of one server, over one connection."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._connection = server.connect()

    def _ask(self, method: str, path: str, body: bytes, wanted: int, **headers: str) -> http.client.HTTPResponse:
        self._connection.request(method, path, body, {**self._server.headers, **headers})
        answer = self._connection.getresponse()
        told = answer.read()
        if answer.status != wanted:
            raise RuntimeError(f"{self._server.name}: {method} {path}: {answer.status} {told[:300]!r}")
        return answer

    def blob(self, repository: str, data: bytes) -> None:
        answer = self._ask("POST", f"/v2/{repository}/blobs/uploads/", b"", 202)
        location = answer.getheader("Location") or ""
        if "://" in location:
            location = "/" + location.split("://", 1)[1].partition("/")[2]
        joint = "&" if "?" in location else "?"
        stream = {"Content-Type": "application/octet-stream"}
        self._ask("PUT", f"{location}{joint}digest={digest_of(data)}", data, 201, **stream)

    def manifest(self, repository: str, tag: str, data: bytes) -> None:
        self._ask("PUT", f"/v2/{repository}/manifests/{tag}", data, 201, **{"Content-Type": MANIFEST})

    def image(self, seed: Seed, *, large: bool = True, cold: bool = False) -> None:
        """`bench/app` with its tags `latest` and `small`; without `large` the 100 MiB layer and `latest` are left out."""
        for name in ("config", "4k", "1m", "2m", *(("100m",) if large else ())):
            self.blob(APP, seed.body(name))
        if large:
            self.manifest(APP, "latest", seed.body("manifest"))
        self.manifest(APP, "small", seed.body("small"))
        for digest in seed.cold if cold else ():
            self.blob(APP, seed.bodies[digest])


def tag_names() -> list[str]:
    return [f"v{number:05d}" for number in range(TAG_COUNT)]


def repository_names() -> list[str]:
    return [f"catalog/r{number:04d}" for number in range(REPOSITORY_COUNT)]


def lists_into_database(root: Path, seed: Seed) -> None:
    """Tags and repositories as rows; the server may be running."""
    body = seed.body("small")
    digest = b"\0" + bytes.fromhex(seed.digests["small"].partition(":")[2])
    with seed_rows.Rows(root / "_cargohold/cargohold.db") as rows:
        rows.repositories(repository_names())
        owner = rows.repositories([TAGS])[0]
        manifest_id = rows.manifests(owner, [body], [digest])[0]
        rows.tags(owner, tag_names(), repeat(manifest_id))


def _tree(root: Path) -> Path:
    return root / "docker/registry/v2"


def lists_into_tree(root: Path) -> None:
    """The same names where registry:2 looks for them; only the folders that its lists walk over."""
    repositories = f"{_tree(root)}/repositories"
    for name in [TAGS, *repository_names()]:
        os.makedirs(f"{repositories}/{name}/_layers")
    for tag in tag_names():
        os.makedirs(f"{repositories}/{TAGS}/_manifests/tags/{tag}")


def blob_file(root: Path, digest: str) -> Path:
    encoded = digest.partition(":")[2]
    return _tree(root) / "blobs/sha256" / encoded[:2] / encoded / "data"


def www(root: Path, target: Path, seed: Seed) -> None:
    """The URLs of `bench/app` as hard links to the blobs of the tree at `root`."""
    blobs, manifests = target / f"v2/{APP}/blobs", target / f"v2/{APP}/manifests"
    blobs.mkdir(parents=True)
    manifests.mkdir(parents=True)
    for digest in [*seed.digests.values(), *seed.cold]:
        os.link(blob_file(root, digest), blobs / digest)
    for name in ("latest", seed.digests["manifest"]):
        os.link(blob_file(root, seed.digests["manifest"]), manifests / name)
