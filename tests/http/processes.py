"""The whole server as processes: supervisor, workers, admin; started from a settings file, seen only through sockets and signals."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from .serving import Answer, Client

ROOT = Path(__file__).parents[2]


class Processes:
    def __init__(self, folder: Path, settings: dict[str, object], *, ready: bool = True) -> None:
        self.folder, self.file = folder, folder / "settings.json"
        self.write(settings)
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.http.fake", str(self.file)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=open(folder / "stderr", "wb"),  # noqa: SIM115  # the process owns it
            env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "TMPDIR": str(folder)},
        )
        self.line = self._line() if ready else ""
        ports = [int(port) for port in re.findall(r":(\d+)", self.line)]
        self.port = ports[0] if ports else 0
        self.admin = ports[1] if len(ports) > 1 else 0

    def write(self, settings: dict[str, object]) -> None:
        self.file.write_text(json.dumps(settings))

    def _line(self) -> str:
        assert self.process.stdout is not None
        readable, _, _ = select.select([self.process.stdout], [], [], 20)
        assert readable, self.log()
        return self.process.stdout.readline().decode()

    def client(self, timeout: float = 10.0) -> Client:
        return Client(self.port, timeout=timeout)

    def ask(self, target: str) -> Answer:
        client = self.client()
        try:
            return client.get(target)
        finally:
            client.close()

    def ask_admin(self, target: str) -> Answer:
        client = Client(self.admin)
        try:
            return client.get(target)
        finally:
            client.close()

    def pids(self, count: int = 1) -> set[int]:
        """Pids of at least so many workers, found by asking."""
        found: set[int] = set()
        deadline = time.monotonic() + 10
        while len(found) < count and time.monotonic() < deadline:
            found.add(int(self.ask("/v2/pid").body.split()[0]))
        return found

    def log(self) -> str:
        return (self.folder / "stderr").read_text()

    def wait_for(self, words: str) -> None:
        deadline = time.monotonic() + 15
        while words not in self.log():
            assert time.monotonic() < deadline, f"{words!r} not in:\n{self.log()}"
            time.sleep(0.02)

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def wait(self, timeout: float = 15) -> int:
        return self.process.wait(timeout)

    def leftovers(self) -> list[str]:
        return [path.name for path in self.folder.iterdir() if path.name.startswith("cargohold-")]


@contextlib.contextmanager
def processes(folder: Path, *, ready: bool = True, **settings: object) -> Iterator[Processes]:
    server = Processes(folder, {"http": {"addr": "127.0.0.1:0"}, "workers": 2, **settings}, ready=ready)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.wait(3)
            server.signal(signal.SIGTERM)
            server.wait(5)
        if server.process.stdout is not None:
            server.process.stdout.close()


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
