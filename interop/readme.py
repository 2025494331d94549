"""What the documents tell a reader to type, and somebody who types it.

    document --blocks--> Block(typist="tests")    typed by tests/house/test_documents.py on every `make test`
                         Block(typist="interop")  typed by `make interop`, where docker, root and htpasswd are (clients/documents.py)
                         Block(typist="maintainer")  in CONTRIBUTING.md alone: asks a package index and changes the checkout

Every fenced block of `sh` or `yaml` stands below a comment that says who types it, and where when that is not the reader's
own folder: `<!-- typed by: tests, in: checkout -->`. A `yaml` block names its file: `<!-- typed by: tests, file: config.yml -->`.
`text` blocks are output or drawings; nobody types them. A block whose last command serves is left running until the next
such block or the end. Addresses are typed as they stand, but for ports: each is replaced by a free one of this run.
`make test` and `make check` are typed with --dry-run: the first is the run that does the typing, the second comes before it in .ci/run.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from ssl import CERT_NONE, create_default_context
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
TYPISTS = ("tests", "interop", "maintainer")
SERVES = re.compile(r"^(?:make run|cargohold registry serve)\b")
_FENCE = re.compile(r"(?:^<!-- (?P<mark>[^\n]*?) -->\n)?^```(?P<language>\w*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
_ADDRESS = re.compile(r"\b(127\.0\.0\.1|0\.0\.0\.0|localhost|registry\.test)(:|\\:)(\d{4,5})\b")
DRY = {"make test", "make check"}
PATIENCE = 60.0


class Block(NamedTuple):
    document: str
    line: int
    language: str
    typist: str
    """`tests`, `interop`, or empty for what is only shown."""
    place: str
    """`checkout`, or empty for the reader's own folder."""
    file: str
    """The file that a yaml block is saved as."""
    body: str

    @property
    def commands(self) -> list[str]:
        """One entry per command, continued lines joined, comments left out."""
        lines = self.body.replace("\\\n", " ").splitlines()
        return [" ".join(line.split()) for line in lines if line.strip() and not line.lstrip().startswith("#")]

    @property
    def serves(self) -> bool:
        return bool(self.language == "sh" and self.commands and SERVES.match(self.commands[-1]))


def blocks(path: Path) -> list[Block]:
    """Every fenced block of a document, in order."""
    text = path.read_text(encoding="utf-8")
    found = []
    for match in _FENCE.finditer(text):
        marks = dict(part.split(": ", 1) for part in (match["mark"] or "").split(", ") if ": " in part)
        line = text.count("\n", 0, match.start("language")) + 1
        block = Block(
            path.name, line, match["language"], marks.get("typed by", ""), marks.get("in", ""), marks.get("file", ""), match["body"]
        )
        found.append(block)
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Typist:
    """Types blocks in a folder of its own; close it to end what still serves.

    `ports` maps a port as written to the one to use; a port that is not in it gets a free one at its first use.
    `words` are replaced after that, as they stand (`{"registry.example": "127.0.0.1"}`). Where a document listens on all addresses,
    this run listens on `everywhere` alone.
    """

    def __init__(
        self,
        folder: Path,
        *,
        environment: dict[str, str],
        ports: dict[int, int] | None = None,
        words: dict[str, str] | None = None,
        everywhere: str = "127.0.0.1",
    ) -> None:
        self.folder, self.environment = folder, environment
        self.ports, self.words, self.everywhere = dict(ports or {}), dict(words or {}), everywhere
        self._server: subprocess.Popen[bytes] | None = None
        self._log = folder / "server.log"

    def port(self, written: int) -> int:
        return self.ports.setdefault(written, free_port())

    def as_typed(self, text: str) -> str:
        def address(match: re.Match[str]) -> str:
            host = self.everywhere if match[1] == "0.0.0.0" else match[1]
            return f"{host}{match[2]}{self.port(int(match[3]))}"

        text = _ADDRESS.sub(address, text)
        for word, instead in self.words.items():
            text = text.replace(word, instead)
        return text

    def type(self, block: Block) -> str:
        """Types one block and returns what it printed; AssertionError with all of it when a command fails."""
        if block.language == "yaml":
            (self.folder / block.file).write_text(self.as_typed(block.body), encoding="utf-8")
            return ""
        if block.serves:
            self._serve(block)
            return ""
        return self._run(block)

    def close(self) -> None:
        if self._server is None:
            return
        # The shell and `make` stand between us and the server: the signal goes to all of them.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._server.pid, signal.SIGTERM)
        self._server.wait(PATIENCE)
        self._server = None

    def _shell(self, block: Block) -> tuple[list[str], Path, dict[str, str]]:
        """Command line, folder and environment."""
        makeflags = f"{'n' if set(block.commands) <= DRY else ''} ADDR=127.0.0.1:{self.port(5000)} DATA={self.folder / 'data'}"
        place = ROOT if block.place == "checkout" else self.folder
        return ["sh", "-e", "-c", self.as_typed(block.body)], place, self.environment | {"MAKEFLAGS": makeflags, "HOME": str(self.folder)}

    def _run(self, block: Block) -> str:
        args, place, env = self._shell(block)
        done = subprocess.run(args, cwd=place, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False)
        said = done.stdout + done.stderr
        assert done.returncode == 0, f"{block.document}:{block.line} ended with {done.returncode}\n{block.body}\n{said}"
        return said

    def _serve(self, block: Block) -> None:
        self.close()
        args, place, env = self._shell(block)
        with self._log.open("wb") as log:
            server = subprocess.Popen(args, cwd=place, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        self._server = server
        found = _ADDRESS.search(block.commands[-1])
        host = self.everywhere if found and found[1] == "0.0.0.0" else "127.0.0.1"
        base = f"{host}:{self.port(int(found[3]) if found else 5000)}/v2/"
        until = time.monotonic() + PATIENCE
        while not (answers(f"http://{base}") or answers(f"https://{base}")):
            tail = self._log.read_text(errors="replace")[-2000:]
            assert server.poll() is None and time.monotonic() < until, f"{block.document}:{block.line} does not serve\n{block.body}\n{tail}"
            time.sleep(0.05)


def answers(url: str) -> bool:
    """Somebody speaks HTTP there; 401 is an answer, too."""
    anybody = create_default_context()
    anybody.check_hostname, anybody.verify_mode = False, CERT_NONE
    try:
        with urllib.request.urlopen(url, timeout=5, context=anybody) as reply:
            return bool(reply.status == 200)
    except urllib.error.HTTPError as refusal:
        return refusal.code == 401
    except OSError:
        return False
