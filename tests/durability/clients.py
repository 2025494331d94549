"""Clients that push until the server is killed under them, and remember what they were told.

    Client (a thread, a repository of its own)
      image --blobs, three ways--> --manifest by tag or digest--> acknowledged
      now and then: a tag or a manifest is deleted

What a client knows afterwards is a `Memory`: for each thing the states that it may be in. An answer leaves one; a request
that was on its way when the server died leaves two, before and after. Anything else that is seen is a defect.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import random
import threading
from collections.abc import Callable, Iterator
from typing import NamedTuple

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
SHARED = "push/shared"
CUT = (http.client.HTTPException, OSError)


def digest_of(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Image(NamedTuple):
    repository: str
    blobs: tuple[bytes, ...]
    """Config first."""
    manifest: bytes

    @property
    def digest(self) -> str:
        return digest_of(self.manifest)


def make_image(repository: str, dice: random.Random) -> Image:
    sizes = (dice.randint(20, 200), dice.randint(1, 5000), dice.choice([1, 100, 20_000, 300_000]))
    blobs = tuple(dice.randbytes(size) for size in sizes)
    config, *layers = ({"mediaType": LAYER, "digest": digest_of(blob), "size": len(blob)} for blob in blobs)
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers}
    return Image(repository, blobs, json.dumps(manifest).encode())


class Memory:
    """What may be seen. `manifests`: image -> is it there (True, False, or None while either may be). `tags`: the digests it may have."""

    def __init__(self) -> None:
        self.manifests: dict[str, tuple[Image, bool | None]] = {}
        self.tags: dict[tuple[str, str], set[str | None]] = {}
        self.blobs: dict[tuple[str, str], bytes] = {}
        self.acknowledged = 0


class Line:
    """One connection; `ask` returns status, headers and body."""

    def __init__(self, port: int) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)

    def ask(
        self, method: str, path: str, body: bytes | Iterator[bytes] | None = None, **headers: str
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.connection.request(method, path, body, named)
        reply = self.connection.getresponse()
        return reply.status, reply.headers, reply.read()

    def close(self) -> None:
        self.connection.close()


class Client(threading.Thread):
    """Pushes until its connection breaks or `enough` is set; what it was told is in `memory`, what it did not expect in `fault`."""

    def __init__(self, number: int, port: int, memory: Memory, seed: int, enough: threading.Event) -> None:
        super().__init__(name=f"client-{number}", daemon=True)
        self.repository = f"push/client{number}"
        self.memory, self.enough = memory, enough
        self.dice = random.Random(seed)
        self.line = Line(port)
        self.fault = ""

    def run(self) -> None:
        try:
            while not self.enough.is_set():
                self.dice.choice(self._moves())()
        except CUT:
            pass  # the kill: what was on its way stays open in memory
        except AssertionError as error:
            self.fault = str(error)
        finally:
            self.line.close()

    def _moves(self) -> list[Callable[[], None]]:
        return [self.push_tagged] * 5 + [self.push_by_digest] * 3 + [self.push_shared] + [self.delete_tag] + [self.delete_manifest]

    # Pushing --------------------------------------------------------------------------------------------------------

    def push_tagged(self) -> None:
        image, tag = make_image(self.repository, self.dice), f"t{self.dice.randrange(3)}"
        self.push_blobs(image)
        before = self.memory.tags.setdefault((self.repository, tag), {None})
        self.memory.tags[self.repository, tag] = before | {image.digest}
        self.put(image, tag)
        self.memory.tags[self.repository, tag] = {image.digest}

    def push_by_digest(self) -> None:
        image = make_image(self.repository, self.dice)
        self.push_blobs(image)
        self.put(image, image.digest)

    def push_shared(self) -> None:
        """Everybody moves the same tag: only what it points to can be checked."""
        image = make_image(SHARED, self.dice)
        self.push_blobs(image)
        self.put(image, "latest")

    def put(self, image: Image, reference: str) -> None:
        self.memory.manifests[image.digest] = (image, None)
        status, headers, body = self.line.ask("PUT", f"/v2/{image.repository}/manifests/{reference}", image.manifest, Content_Type=MANIFEST)
        assert status == 201, (status, body)
        assert headers["Docker-Content-Digest"] == image.digest
        self.memory.manifests[image.digest] = (image, True)
        self.memory.acknowledged += 1

    def push_blobs(self, image: Image) -> None:
        for blob in image.blobs:
            self.dice.choice([self._blob_at_once, self._blob_in_two_steps, self._blob_in_pieces])(image.repository, blob)
            self.memory.blobs[image.repository, digest_of(blob)] = blob

    def _blob_at_once(self, repository: str, blob: bytes) -> None:
        status, _, body = self.line.ask("POST", f"/v2/{repository}/blobs/uploads/?digest={digest_of(blob)}", blob)
        assert status == 201, (status, body)

    def _blob_in_two_steps(self, repository: str, blob: bytes) -> None:
        self._finish(self._open(repository), blob, blob)

    def _blob_in_pieces(self, repository: str, blob: bytes) -> None:
        place, middle = self._open(repository), len(blob) // 2
        status, headers, body = self.line.ask("PATCH", place, iter([blob[:middle], blob[middle:]]))  # chunked, as docker does
        assert status == 202, (status, body)
        self._finish(headers["Location"], b"", blob)

    def _open(self, repository: str) -> str:
        status, headers, body = self.line.ask("POST", f"/v2/{repository}/blobs/uploads/", b"")
        assert status == 202, (status, body)
        return str(headers["Location"])

    def _finish(self, place: str, rest: bytes, blob: bytes) -> None:
        status, _, body = self.line.ask("PUT", f"{place}{'&' if '?' in place else '?'}digest={digest_of(blob)}", rest)
        assert status == 201, (status, body)

    # Deleting -------------------------------------------------------------------------------------------------------

    def delete_tag(self) -> None:
        mine = [key for key, states in self.memory.tags.items() if key[0] == self.repository and None not in states]
        if mine:
            key = self.dice.choice(sorted(mine))
            self.memory.tags[key] = self.memory.tags[key] | {None}
            status, _, body = self.line.ask("DELETE", f"/v2/{key[0]}/manifests/{key[1]}")
            assert status == 202, (status, body)
            self.memory.tags[key] = {None}

    def delete_manifest(self) -> None:
        """Only one that no tag of ours may point to, so that the tags' states stay simple."""
        tagged = {digest for states in self.memory.tags.values() for digest in states}
        mine = [
            image
            for digest, (image, there) in self.memory.manifests.items()
            if there and image.repository == self.repository and digest not in tagged
        ]
        if mine:
            image = self.dice.choice(mine)
            self.memory.manifests[image.digest] = (image, None)
            status, _, body = self.line.ask("DELETE", f"/v2/{image.repository}/manifests/{image.digest}")
            assert status == 202, (status, body)
            self.memory.manifests[image.digest] = (image, False)
