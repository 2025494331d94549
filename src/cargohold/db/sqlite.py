"""The database in one file: `SqliteDatabase`, for the embedded shape.

    now           inline: a statement runs in the loop and never suspends; it sees the newest commit of any process
    read          a thread with its own connection and one snapshot; at most 4 at a time
    write, note   the writer thread (db/sqlite_writer.py)

Write-ahead log, so readers never wait for writers. One file is shared by all processes of one machine; it must not lie on a
network file system (locks and shared memory do not work there).

Invariants
- Open it after fork and in the loop that uses it; a connection must never cross a fork.
- Reading within a unit goes through its `Work`; `now` refuses to run in another thread.

Callers: db/connect.py.
"""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

from cargohold.db.query import SQLITE
from cargohold.db.sqlite_connection import Connection
from cargohold.db.sqlite_writer import Writer, drive
from cargohold.db.unit import Deadlines
from cargohold.db.work import Reader, Work
from cargohold.errors import Unavailable
from cargohold.telemetry import metrics

T = TypeVar("T")
P = ParamSpec("P")

_SNAPSHOTS = 4
_MOUNTS = Path("/proc/self/mountinfo")
_NETWORK = ("nfs", "cifs", "smb", "afs", "ceph", "glusterfs", "fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "lustre", "gpfs")


def network_mount(folder: Path, mounts: Path) -> str | None:
    """The type of the network file system that holds `folder`; None for a local one, or where `mounts` cannot be read."""
    try:
        lines = [line.split(" ") for line in mounts.read_text().splitlines()]
    except OSError:
        return None
    real = folder.resolve()
    held = [(fields[4], fields[fields.index("-") + 1]) for fields in lines if real.is_relative_to(fields[4].replace("\\040", " "))]
    kind = max(held, key=lambda mount: len(mount[0]), default=("", ""))[1]
    return kind if kind.startswith(_NETWORK) else None


class SqliteDatabase:
    """`Database` on the file `path`. `synchronous`: `full` or `normal`."""

    dialect = SQLITE
    inline = True

    def __init__(self, path: Path, *, synchronous: str = "full", deadlines: Deadlines | None = None) -> None:
        if (kind := network_mount(path.parent, _MOUNTS)) is not None:
            raise Unavailable(f"{path.parent} is on a {kind} mount, where SQLite's locks do not work: use a local folder, or PostgreSQL.")
        self._path = path
        self._deadlines = deadlines or Deadlines()
        self._writer = Writer(path, durable=synchronous == "full", deadlines=self._deadlines)
        self._inline = Connection(path, inline=True, limit=self._deadlines.statement)
        self.now: Reader = self._inline
        self._threads = ThreadPoolExecutor(_SNAPSHOTS, thread_name_prefix="cargohold-reader")
        self._places = asyncio.Semaphore(_SNAPSHOTS)
        self._spare: list[Connection] = []
        self._busy: dict[Connection, asyncio.Future[Any]] = {}
        self._closed = False

    async def read(self, fn: Callable[Concatenate[Reader, P], Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        await self._places.acquire()
        try:
            connection = self._snapshot_connection()
            context = contextvars.copy_context()
            running = self._threads.submit(context.run, self._snapshot, connection, lambda: fn(connection, *args, **kwargs))
            answer = asyncio.wrap_future(running)
        except BaseException:
            self._places.release()
            raise
        self._busy[connection] = answer
        answer.add_done_callback(lambda done: self._give_back(connection, done))
        try:
            return cast("T", await asyncio.shield(answer))
        except asyncio.CancelledError:
            connection.until = 0.0  # the thread stops at the next look at the clock
            raise

    def _snapshot_connection(self) -> Connection:
        if self._closed:
            raise Unavailable("The registry is stopping.")
        return self._spare.pop() if self._spare else Connection(self._path)

    def _snapshot(self, connection: Connection, work: Callable[[], Awaitable[T]]) -> T:
        connection.until = time.monotonic() + self._deadlines.read
        try:
            connection.command("BEGIN")
            return drive(work())
        finally:
            connection.rollback()

    def _give_back(self, connection: Connection, done: asyncio.Future[T]) -> None:
        del self._busy[connection]
        self._places.release()
        if self._closed:
            connection.close()
        else:
            self._spare.append(connection)
        if not done.cancelled():
            done.exception()  # of a caller who went away: nobody else looks at it

    async def write(self, fn: Callable[Concatenate[Work, P], Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        with metrics.db_write_seconds.timed():
            return cast("T", await self._writer.submit(lambda work: fn(work, *args, **kwargs), durable=True))

    async def note(self, fn: Callable[Concatenate[Work, P], Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return cast("T", await self._writer.submit(lambda work: fn(work, *args, **kwargs), durable=False))

    async def aclose(self) -> None:
        """Finish what is queued, stop what reads, end all threads. Again is harmless."""
        if self._closed:
            return
        self._closed = True
        await self._writer.close()
        for connection in self._busy:
            connection.until = 0.0
        if self._busy:
            await asyncio.wait(list(self._busy.values()))
            await asyncio.sleep(0)  # their callbacks give the connections back
        self._threads.shutdown()
        for connection in self._spare:
            connection.close()
        self._inline.close()
