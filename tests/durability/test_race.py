"""Twelve clients on two workers put and delete the same three tags and manifests: each answer is one of the protocol, and in the end
the tree says what the API says, without any restart."""

from __future__ import annotations

import random
import threading
import time
from pathlib import Path

from tests.durability.clients import CUT, MANIFEST, Image, Line, digest_of, make_image
from tests.durability.witness import TREE
from tests.program import Program

REPOSITORY = "race/app"
TAGS = ["a", "b", "c"]
SECONDS = 3.0


class Racer(threading.Thread):
    def __init__(self, port: int, images: list[Image], seed: int) -> None:
        super().__init__(daemon=True)
        self.line, self.images, self.dice = Line(port), images, random.Random(seed)
        self.told: set[tuple[str, int]] = set()
        self.fault = ""

    def run(self) -> None:
        until = time.monotonic() + SECONDS
        try:
            while time.monotonic() < until:
                self.move()
        except CUT as error:
            self.fault = repr(error)

    def move(self) -> None:
        image = self.dice.choice(self.images)
        reference = self.dice.choice([*TAGS, image.digest])
        method = self.dice.choice(["PUT", "PUT", "DELETE"])
        body = image.manifest if method == "PUT" else None
        status, _, _ = self.line.ask(method, f"/v2/{REPOSITORY}/manifests/{reference}", body, Content_Type=MANIFEST)
        self.told.add((method, status))


def test_racing_writers_leave_tree_and_database_equal(tmp_path: Path) -> None:
    with Program(tmp_path, workers=2) as program:
        line, images = Line(program.port), [make_image(REPOSITORY, random.Random(number)) for number in range(4)]
        for image in images:
            for blob in image.blobs:
                assert line.ask("POST", f"/v2/{REPOSITORY}/blobs/uploads/?digest={digest_of(blob)}", blob)[0] == 201
        racers = [Racer(program.port, images, number) for number in range(12)]
        for racer in racers:
            racer.start()
        for racer in racers:
            racer.join()
        assert not [racer.fault for racer in racers if racer.fault]
        told = set().union(*(racer.told for racer in racers))
        assert told <= {("PUT", 201), ("DELETE", 202), ("DELETE", 404)}
        assert len(told) == 3, "the race was none"
        folder = program.root / TREE / "repositories" / REPOSITORY / "_manifests"
        for tag in TAGS:
            status, headers, _ = line.ask("HEAD", f"/v2/{REPOSITORY}/manifests/{tag}")
            link = folder / "tags" / tag / "current/link"
            assert (link.read_text() if link.exists() else None) == (headers["Docker-Content-Digest"] if status == 200 else None)
        for image in images:
            status, _, _ = line.ask("HEAD", f"/v2/{REPOSITORY}/manifests/{image.digest}")
            assert (folder / "revisions/sha256" / image.digest[7:] / "link").exists() == (status == 200)
        assert "Traceback" not in program.log
