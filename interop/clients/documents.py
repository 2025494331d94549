"""The documents, typed: what README, tutorial and how-to pages tell to do with docker, root and htpasswd, as it stands there.

Blocks that serve and blocks marked for us are typed from top to bottom, up to the last one of ours; the rest is typed by the tests.
Ports are this run's own (the same in all documents, so that a tag stays valid), `alpine` is the image made from busybox,
`registry.test` leads to ::1 (sandbox.py), and `sudo` is left out: we are root in a private /etc.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from interop.clients.docker import Docker
from interop.kit import OURS, Scenario
from interop.outcome import NotRun
from interop.readme import ROOT, Block, Typist, blocks

PAGES = ("README.md", "docs/tutorial.md", "docs/how-to/htpasswd.md")


class Documents(Docker):
    name = "documents"
    needs = ("docker", "dockerd", "busybox", "htpasswd")

    def open(self) -> None:
        super().open()
        self.run("tag", "base:1", "alpine")
        self.ports: dict[int, int] = {}

    def scenarios(self) -> Sequence[Scenario]:
        return [(page, self._step(page)) for page in PAGES]

    def _step(self, page: str) -> Callable[[], None]:
        return partial(self.type, page)

    def type(self, page: str) -> None:
        if self.kit.oracle:
            raise NotRun("the documents are about ours")
        folder = self.folder / page.replace("/", "-")
        folder.mkdir()
        path = os.pathsep.join([str(Path(OURS[0]).parent), str(Path(self.program).parent), os.environ["PATH"]])
        environment = self.shell.environment | {"PATH": path, "DOCKER_HOST": self.socket}
        typist = Typist(folder, environment=environment, words={"sudo ": ""}, everywhere="[::1]")
        typist.ports = self.ports
        try:
            for block in mine(blocks(ROOT / page)):
                typist.type(block)
        finally:
            typist.close()
            shutil.rmtree(folder / "registry", ignore_errors=True)


def mine(found: list[Block]) -> list[Block]:
    """All that is ours or serves, up to the last that is ours."""
    last = max(number for number, block in enumerate(found) if block.typist == "interop")
    return [block for block in found[: last + 1] if block.typist == "interop" or block.serves]
