"""The real program as its users run it: `cargohold registry serve` in a process group of its own, on a free port.

    start --> (answers) --stop--> gone        SIGTERM, drains
                 |`--kill--> gone             SIGKILL to supervisor and workers at once: what a power cut leaves of a process
                 `--start again on the same folder

Callers: tests that need a process they can measure and kill (bad_input/, durability/, limits/). Whoever only needs the API
uses cargohold.testing in-process, which is ten times faster.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

PROGRAM = Path(sys.executable).with_name("cargohold")
PATIENCE = 60.0


def free_port() -> int:
    """Below the range that systems give to outgoing connections: a server that is started again finds its port free."""
    while True:
        with socket.socket() as probe, contextlib.suppress(OSError):
            port = random.randrange(22_000, 32_000)
            probe.bind(("127.0.0.1", port))
            return port


class Program:
    """A server on 127.0.0.1 with its data in `folder`/data and its log in `folder`/log; `settings` are CARGOHOLD_* without the prefix."""

    def __init__(self, folder: Path, *, workers: int = 1, command: list[str] | None = None, **settings: str) -> None:
        self.folder, self.root, self.port = folder, folder / "data", free_port()
        self.command = command or [str(PROGRAM), "registry", "serve", "--addr", f"127.0.0.1:{self.port}", "--root", str(self.root)]
        inherited = {name: text for name, text in os.environ.items() if not name.startswith(("CARGOHOLD_", "REGISTRY_"))}
        self.environment = inherited | {"CARGOHOLD_WORKERS": str(workers)} | {f"CARGOHOLD_{name}": text for name, text in settings.items()}
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Program:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(encoding="utf-8", errors="replace")

    def start(self) -> None:
        """Returns when the server answers."""
        assert self.process is None
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                self.command, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        until = time.monotonic() + PATIENCE
        while not self.answers():
            assert self.process.poll() is None, f"the server ended with {self.process.returncode}: {self.log[-3000:]}"
            assert time.monotonic() < until, f"the server does not answer: {self.log[-3000:]}"
            time.sleep(0.01)

    def answers(self, timeout: float = 5.0) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout) as line:
                line.sendall(b"GET /v2/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                return line.recv(64).startswith((b"HTTP/1.1 200", b"HTTP/1.1 401"))
        except OSError:
            return False

    def stop(self) -> int:
        """SIGTERM; returns the exit code, or kills what does not end in time."""
        if self.process is None:
            return 0
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        self.process = None
        return code

    def kill(self) -> None:
        """SIGKILL to the whole group; returns when nobody of it is left."""
        assert self.process is not None
        group = self.process.pid
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)
        self.process.wait(PATIENCE)
        while members(group):
            time.sleep(0.002)
        self.process = None

    def workers(self) -> list[int]:
        """Process ids of the workers: the supervisor's children, or the server itself while it has none."""
        assert self.process is not None
        others = [pid for pid in members(self.process.pid) if pid != self.process.pid]
        return others or [self.process.pid]

    def memory(self) -> int:
        """Bytes of resident memory of the largest worker."""
        return max(resident(pid) for pid in self.workers())


def members(group: int) -> list[int]:
    """Live processes of a process group, zombies left out."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                state, _, process_group = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
                if int(process_group) == group and state not in "ZX":
                    found.append(int(entry.name))
    return sorted(found)


def resident(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0
