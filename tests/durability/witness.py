"""Looks at a server after a kill and holds it against what its clients were told.

    every manifest: there or not as its memory says, byte for byte, with every blob; one that may be either is whole or absent
    every tag:      one of the digests it may have, and that image is whole
    the tree:       tag links and revision links say what the API says; no blob file holds other bytes than its name promises

What is seen becomes the memory of the next round.
"""

from __future__ import annotations

import hashlib
import random
import time
from pathlib import Path

from tests.durability.clients import SHARED, Image, Line, Memory, digest_of

MENDED = 15.0
TREE = Path("docker/registry/v2")


class Witness:
    def __init__(self, port: int, root: Path) -> None:
        self.line, self.root = Line(port), root
        self.seen = 0

    def compare(self, memory: Memory, digests: list[str]) -> None:
        """Checks those manifests, all tags and all blobs that were acknowledged since the last time; AssertionError says what is wrong."""
        for digest in digests:
            image, promised = memory.manifests[digest]
            there = self.is_whole(image)
            assert promised is None or there == promised, f"{digest} was {'acknowledged' if promised else 'deleted'}, and now it is not so"
            assert promised is not False or not self.link(image).exists(), f"{digest} was deleted and is still linked in the tree"
            memory.manifests[digest] = (image, there or promised)
        for (repository, tag), states in memory.tags.items():
            memory.tags[repository, tag] = {self.tag(memory, repository, tag, states)}
        for (repository, digest), blob in memory.blobs.items():
            self.has_blob(repository, digest, blob)
        memory.blobs.clear()

    def is_whole(self, image: Image) -> bool:
        """False: the API has no such manifest (a link that came before the row may be left). An image that is there in part fails."""
        status, headers, body = self.line.ask("GET", f"/v2/{image.repository}/manifests/{image.digest}")
        assert status in (200, 404), (status, body)
        if status == 404:
            return False
        assert body == image.manifest
        assert headers["Docker-Content-Digest"] == image.digest
        assert self.link(image).read_text() == image.digest
        for blob in image.blobs:
            self.has_blob(image.repository, digest_of(blob), blob)
        self.seen += 1
        return True

    def link(self, image: Image) -> Path:
        return self.root / TREE / "repositories" / image.repository / "_manifests/revisions/sha256" / image.digest[7:] / "link"

    def has_blob(self, repository: str, digest: str, blob: bytes) -> None:
        status, _, body = self.line.ask("GET", f"/v2/{repository}/blobs/{digest}")
        assert status == 200, f"blob {digest} of {repository} was acknowledged and answers {status}"
        assert body == blob, f"blob {digest} has other bytes"

    def tag(self, memory: Memory, repository: str, tag: str, states: set[str | None]) -> str | None:
        status, headers, _ = self.line.ask("HEAD", f"/v2/{repository}/manifests/{tag}")
        digest = headers["Docker-Content-Digest"] if status == 200 else None
        assert digest in states, f"{repository}:{tag} is {digest}, it may be one of {states}"
        self.tree_has(repository, tag, digest)
        if digest:
            assert self.is_whole(memory.manifests[digest][0])
        return digest

    def tree_has(self, repository: str, tag: str, digest: str | None) -> None:
        """The first worker mends the tree as it starts; another may answer a moment earlier, so this looks again for a while."""
        link = self.root / TREE / "repositories" / repository / "_manifests/tags" / tag / "current/link"
        until = time.monotonic() + MENDED
        while (found := link.read_text() if link.exists() else None) != digest:
            assert time.monotonic() < until, f"{repository}:{tag} is {digest} in the API and {found} in the tree"
            time.sleep(0.02)

    def shared(self, memories: list[Memory]) -> None:
        """The tag that all clients move: whatever it is, it is whole."""
        status, headers, _ = self.line.ask("HEAD", f"/v2/{SHARED}/manifests/latest")
        if status == 200:
            digest = headers["Docker-Content-Digest"]
            image = next(memory.manifests[digest][0] for memory in memories if digest in memory.manifests)
            assert self.is_whole(image)
            self.tree_has(SHARED, "latest", digest)

    def no_torn_file(self) -> int:
        """Every blob file holds what its name promises; how many there are."""
        files = list((self.root / TREE / "blobs/sha256").glob("*/*/data"))
        torn = [str(path) for path in files if hashlib.sha256(path.read_bytes()).hexdigest() != path.parent.name]
        assert not torn
        return len(files)


def sample(memory: Memory, fresh: set[str], dice: random.Random, older: int) -> list[str]:
    """What a round checks: all that is new or was touched, and a few of before."""
    known = [digest for digest in memory.manifests if digest not in fresh]
    return sorted(fresh) + dice.sample(known, min(older, len(known)))
