"""SQLite's writer: one thread per process runs the units, many in one transaction (group commit).

    queue -> take a unit -> flock -> BEGIN IMMEDIATE -> (SAVEPOINT, unit, RELEASE | ROLLBACK TO)* -> COMMIT -> unlock -> answers
                                                        goes on while units wait, up to 64 of them or 5 ms

A commit costs a sync of the disk whatever it holds, so 32 writers that share commits get 5 times the rate of 32 that do not.
Processes take turns by flock on a side file: the kernel queues and wakes, where SQLite's own waiting sleeps ever longer.

Invariants
- An answer leaves after the COMMIT that holds its unit; all answers of a group leave by one call into the loop.
- A unit that fails is rolled back to its savepoint; its neighbours do not notice. Where an error ends the whole transaction
  (disk full, a stopped write), the one that met it gets the error and its neighbours run once more, apart from it.
- A group of notes alone is committed without a sync; a durable unit never joins such a group. The next durable commit syncs
  the whole log, notes included.
- A unit whose caller went away before it started is not run; one that started is finished.

Callers: db/sqlite.py.
"""

from __future__ import annotations

import asyncio
import contextvars
import fcntl
import os
import queue
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar, cast

from cargohold.db.query import SQLITE, Plan, Query
from cargohold.db.sqlite_connection import Connection, turns
from cargohold.db.unit import RECORD, Deadlines, Unit, record
from cargohold.errors import Unavailable

T = TypeVar("T")

_GROUP = 64
_GROUP_TIME = 0.005
_IDLE = 2.0
"""Seconds without a unit after which the log is folded into the file."""


def drive(work: Awaitable[T]) -> T:
    """Run a coroutine that never suspends to its end."""
    steps = work.__await__()
    try:
        next(steps)
    except StopIteration as stop:
        return cast("T", stop.value)
    cast("Any", steps).close()
    raise RuntimeError("a unit awaited something else than its work")


class SqliteWork(Unit):
    """`Work` on the writer's connection."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self._connection = connection

    async def one(self, query: Query[T], /, **binds: object) -> T | None:
        plan = query.on(SQLITE)
        return cast("T | None", plan.one(self._try(self._connection.rows, plan, binds)))

    async def all(self, query: Query[T], /, **binds: object) -> list[T]:
        plan = query.on(SQLITE)
        return plan.all(self._try(self._connection.rows, plan, binds))

    async def run(self, query: Query[Any], /, **binds: object) -> int:
        return self._try(self._connection.run, query.on(SQLITE), binds)

    def _try(self, step: Callable[[Plan, dict[str, object]], T], plan: Plan, binds: dict[str, object]) -> T:
        if self.broken is not None:
            raise self.refusal()
        try:
            return step(plan, binds)
        except Exception as error:
            self.broken = error
            raise

    def finish(self) -> None:
        """Write the events, or fail for a unit that swallowed its error."""
        if self.broken is not None:
            raise self.broken
        for event in self.outbox:
            self._connection.run(RECORD.on(SQLITE), record(event))


class _Job:
    __slots__ = ("context", "durable", "error", "future", "retried", "run", "value")

    def __init__(self, run: Callable[[SqliteWork], Awaitable[Any]], durable: bool, future: asyncio.Future[Any]) -> None:
        self.run, self.durable, self.future = run, durable, future
        self.context = contextvars.copy_context()
        self.retried = False
        self.value: Any = None
        self.error: BaseException | None = None


class Writer:
    """Start it in the process that uses it (after fork). `close` waits for what is queued and ends the thread."""

    def __init__(self, path: Path, *, durable: bool, deadlines: Deadlines) -> None:
        self._loop = asyncio.get_running_loop()
        self._durable = durable
        self._deadlines = deadlines
        self._synchronous = "FULL" if durable else "NORMAL"
        self._connection = Connection(path, synchronous=self._synchronous, readonly=False)
        self._turn = turns(path)
        self._queue: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._held: deque[_Job] = deque()
        self._dirty = self._closed = False
        self._ended = asyncio.Event()
        self._thread = threading.Thread(target=self._main, name="cargohold-writer", daemon=True)
        self._thread.start()

    def submit(self, run: Callable[[SqliteWork], Awaitable[Any]], *, durable: bool) -> asyncio.Future[Any]:
        if self._closed:
            raise Unavailable("The registry is stopping.")
        future: asyncio.Future[Any] = self._loop.create_future()
        self._queue.put(_Job(run, durable and self._durable, future))
        return future

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._queue.put(None)
        await self._ended.wait()
        self._thread.join()
        self._connection.close()
        os.close(self._turn)

    def _main(self) -> None:
        while self._serve():
            pass
        self._loop.call_soon_threadsafe(self._ended.set)

    def _serve(self) -> bool:
        """One group; nothing of it is kept when this returns. False when the queue has ended."""
        job = self._take()
        if job is None:
            return False
        self._loop.call_soon_threadsafe(_answer, self._group(job))
        return True

    def _take(self) -> _Job | None:
        """The next unit; None when the queue ends. Folds the log when none comes for a while."""
        if self._held:
            return self._held.popleft()
        if self._dirty:
            try:
                return self._queue.get(timeout=_IDLE)
            except queue.Empty:
                self._fold()
        return self._queue.get()

    def _next(self, *, durable: bool) -> _Job | None:
        """A unit that waits and may join a group; the end of the queue is put back for `_take`."""
        if self._held:
            return None  # run apart
        try:
            job = self._queue.get_nowait()
        except queue.Empty:
            return None
        if job is None:
            self._queue.put(None)
            return None
        if job.durable and not durable:
            self._held.append(job)
            return None
        return job

    def _waiting(self) -> Iterator[_Job]:
        """All that wait: without BEGIN, each of them would wait for the same lock in turn."""
        while (job := self._next(durable=True)) is not None:
            yield job

    def _group(self, first: _Job) -> list[_Job]:
        """Run `first`, and what waits behind it, in one transaction; the units that now have an answer."""
        group: list[_Job] = []
        job: _Job | None = first
        try:
            fcntl.flock(self._turn, fcntl.LOCK_EX)
            self._begin(durable=first.durable)
            until = time.monotonic() + _GROUP_TIME
            while job is not None:
                group.append(job)
                self._run(job)
                if not self._connection.in_transaction:
                    return self._apart(group, job)
                alone = first.retried or len(group) >= _GROUP or time.monotonic() > until
                job = None if alone else self._next(durable=first.durable)
            self._connection.command("COMMIT")
            self._dirty = True
        except Exception as error:  # BEGIN or COMMIT failed: nobody's unit is in
            group = group or [first, *self._waiting()]
            for job in group:
                job.error = job.error or error
        finally:
            self._connection.rollback()
            fcntl.flock(self._turn, fcntl.LOCK_UN)
        return group

    def _begin(self, *, durable: bool) -> None:
        wanted = "FULL" if durable else "NORMAL"
        if wanted != self._synchronous:
            self._connection.command(f"PRAGMA synchronous = {wanted}")
            self._synchronous = wanted
        self._connection.command("BEGIN IMMEDIATE")

    def _run(self, job: _Job) -> None:
        if job.future.cancelled():
            return
        connection = self._connection
        connection.command("SAVEPOINT unit")
        work = SqliteWork(connection)
        connection.until = time.monotonic() + self._deadlines.unit
        try:
            job.value = job.context.run(lambda: drive(job.run(work)))
            work.finish()
            connection.command("RELEASE unit")
        except BaseException as error:  # whatever a unit raises is its caller's; the thread lives on
            job.error = error if isinstance(error, Exception) else RuntimeError(f"a unit raised {error!r}")
            connection.until = float("inf")
            if connection.in_transaction:
                connection.command("ROLLBACK TO unit")
                connection.command("RELEASE unit")
        finally:
            work.end()
            connection.until = float("inf")

    def _apart(self, group: list[_Job], culprit: _Job) -> list[_Job]:
        """The transaction is lost to `culprit`: those before it that had succeeded run again, each by itself, once."""
        again = [job for job in group if job is not culprit and job.error is None]
        for job in again:
            job.retried, job.value = True, None
        self._held.extend(again)
        return [job for job in group if job not in again]

    def _fold(self) -> None:
        """Checkpoint, unless another process is writing just now: then it will do so."""
        self._dirty = False
        try:
            fcntl.flock(self._turn, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        try:
            self._connection.command("PRAGMA wal_checkpoint(TRUNCATE)")
        except Exception:  # noqa: S110 - upkeep: readers were in the way or the disk is full; a unit will tell
            pass
        finally:
            fcntl.flock(self._turn, fcntl.LOCK_UN)


def _answer(group: list[_Job]) -> None:
    for job in group:
        if job.future.done():
            continue
        if job.error is not None:
            job.future.set_exception(job.error)
        else:
            job.future.set_result(job.value)
