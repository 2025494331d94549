"""One folder in turns: what registry:2 changed while we were stopped is not undone when we start again."""

from __future__ import annotations

import time
from pathlib import Path

import httpx

from cargohold.names import Digest, RepoName, Tag
from cargohold.storage import keys
from cargohold.testing.image import image
from cargohold.testing.push import push
from tests.program import Program

REPO, V1 = RepoName("team/app"), Tag("v1")


def test_tag_that_was_moved_while_we_were_stopped_stays_moved(tmp_path: Path) -> None:
    program = Program(tmp_path, workers=1)
    program.start()
    with httpx.Client(base_url=f"http://127.0.0.1:{program.port}", timeout=30) as client:
        first, second = image(seed=1), image(seed=2)
        push(client, REPO, second, "v2")
        push(client, REPO, first, "v1")
    assert program.stop() == 0
    link = program.root / keys.tag_current(REPO, V1)
    assert link.read_text() == first.digest
    link.write_text(second.digest)
    program.start()
    try:
        time.sleep(1.5)  # the keeper has put the tree in order
        assert Digest.parse(link.read_text()) == second.digest
    finally:
        program.stop()
