"""Content to push, made by hand as OCI layout folders: a small image, one of many layers, an index for three platforms.

    Layout(folder).image(...)  -> descriptor of a manifest in it
    Layout(folder).index(...)  -> descriptor of an index over manifests of it
    Layout(folder).name(descriptor, "tag")

Layers are gzip tars. The bytes are new in every run (a random file is in each layer), so no client finds them in its cache.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
EMPTY = "application/vnd.oci.empty.v1+json"
PLATFORMS = ({"architecture": "amd64"}, {"architecture": "arm64", "variant": "v8"}, {"architecture": "arm", "variant": "v7"})

Descriptor = dict[str, Any]


def tar_of(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


class Layout:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "blobs" / "sha256").mkdir(parents=True)
        (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
        self._named: list[Descriptor] = []
        self._write_names()

    def blob(self, content: bytes, media_type: str) -> Descriptor:
        name = hashlib.sha256(content).hexdigest()
        (self.folder / "blobs" / "sha256" / name).write_bytes(content)
        return {"mediaType": media_type, "digest": f"sha256:{name}", "size": len(content)}

    def image(
        self, *, layers: int = 1, size: int = 100_000, files: dict[str, bytes] | None = None, platform: dict[str, str] | None = None
    ) -> Descriptor:
        """A runnable shape: config with diff ids, one layer of `files`, and `layers` of `size` random bytes."""
        tars = [tar_of(files)] if files else []
        tars += [tar_of({f"data/{number}": os.urandom(size)}) for number in range(layers)]
        config = {
            "os": "linux",
            **(platform or PLATFORMS[0]),
            "config": {"Env": ["PATH=/bin"], "Cmd": ["/bin/busybox", "echo", "hello"]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(tar).hexdigest()}" for tar in tars]},
            "history": [{"created_by": f"layer {number}"} for number in range(len(tars))],
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self.blob(json.dumps(config).encode(), CONFIG),
            "layers": [self.blob(gzip.compress(tar, 1), LAYER) for tar in tars],
        }
        return self.blob(json.dumps(manifest).encode(), MANIFEST)

    def index(self, children: list[Descriptor]) -> Descriptor:
        return self.blob(json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": children}).encode(), INDEX)

    def platforms(self) -> Descriptor:
        """An index over one image for each of three platforms."""
        children = [self.image(size=20_000, platform=platform) | {"platform": {"os": "linux", **platform}} for platform in PLATFORMS]
        return self.index(children)

    def artifact(self, artifact_type: str, subject: Descriptor | None = None) -> Descriptor:
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": artifact_type,
            "config": self.blob(b"{}", EMPTY),
            "layers": [self.blob(os.urandom(500), "application/octet-stream")],
            "annotations": {"made.by": "interop"},
        }
        if subject:
            manifest["subject"] = {key: subject[key] for key in ("mediaType", "digest", "size")}
        return self.blob(json.dumps(manifest).encode(), MANIFEST)

    def name(self, descriptor: Descriptor, tag: str) -> str:
        """Gives it a name in index.json; returns `FOLDER:TAG`, as skopeo and others spell it."""
        self._named.append(descriptor | {"annotations": {"org.opencontainers.image.ref.name": tag}})
        self._write_names()
        return f"{self.folder}:{tag}"

    def archive(self, path: Path) -> Path:
        """The whole layout as one tar."""
        with tarfile.open(path, "w") as archive:
            for item in sorted(self.folder.rglob("*")):
                archive.add(item, item.relative_to(self.folder).as_posix(), recursive=False)
        return path

    def _write_names(self) -> None:
        (self.folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": self._named}))
