"""The database on a server: `PostgresDatabase`, for the cluster shape.

    now           a connection of the pool per statement, autocommit
    read          one connection, REPEATABLE READ READ ONLY
    write         one connection, READ COMMITTED; runs again after a lost race, at most 3 times
    note          like write, with synchronous_commit off

Invariants
- A unit awaits nothing but its `Work`, as on SQLite; one that does fails here too, and is rolled back.
- Transactions end with COMMIT whenever they can.
- A statement that found its connection dead is repeated once on a new one, a unit too unless its COMMIT was on the way.

Callers: db/connect.py, which loads this file only when a URL is set.
"""

from __future__ import annotations

import asyncio
import random
import types
from collections.abc import Awaitable, Callable, Generator
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

from cargohold.db.postgres_connection import Again, Connection, Lost
from cargohold.db.postgres_pool import Pool
from cargohold.db.query import POSTGRESQL, Plan, Query
from cargohold.db.unit import RECORD, Deadlines, Unit, record
from cargohold.db.work import Reader, Work
from cargohold.errors import DatabaseAway, TooSlow, Unavailable
from cargohold.telemetry import metrics

T = TypeVar("T")
P = ParamSpec("P")

_ATTEMPTS = 3


class PostgresWork(Unit):
    """`Work` (and the reader of a snapshot) on one connection."""

    __slots__ = ("_connection", "waiting")

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self._connection = connection
        self.waiting = False
        """A statement of ours is what the unit awaits."""

    async def one(self, query: Query[T], /, **binds: object) -> T | None:
        plan = query.on(POSTGRESQL)
        return cast("T | None", plan.one(await self._try(self._connection.rows, plan, binds)))

    async def all(self, query: Query[T], /, **binds: object) -> list[T]:
        plan = query.on(POSTGRESQL)
        return plan.all(await self._try(self._connection.rows, plan, binds))

    async def run(self, query: Query[Any], /, **binds: object) -> int:
        return await self._try(self._connection.run, query.on(POSTGRESQL), binds)

    async def _try(self, step: Callable[[Plan, dict[str, object]], Awaitable[T]], plan: Plan, binds: dict[str, object]) -> T:
        if self.broken is not None:
            raise self.refusal()
        self.waiting = True
        try:
            return await step(plan, binds)
        except Exception as error:
            self.broken = error
            raise
        finally:
            self.waiting = False

    async def finish(self) -> None:
        """Write the events, or fail for a unit that swallowed its error."""
        if self.broken is not None:
            raise self.broken
        for event in self.outbox:
            await self._connection.run(RECORD.on(POSTGRESQL), record(event))


@types.coroutine
def only_on(work: PostgresWork, running: Awaitable[T]) -> Generator[Any, Any, T]:
    """Await a unit, and fail when it suspends on anything but a statement of `work`: on SQLite it could not."""
    steps = running.__await__()
    step: Callable[[Any], Any] = steps.send
    value: Any = None
    while True:
        try:
            suspended = step(value)
        except StopIteration as stop:
            return cast("T", stop.value)
        if not work.waiting:
            steps.close()
            raise RuntimeError("a unit awaited something else than its work")
        try:
            value, step = (yield suspended), steps.send
        except BaseException as error:
            value, step = error, steps.throw


class PostgresDatabase:
    """`Database` on the server at `url`; `pool` connections at most."""

    dialect = POSTGRESQL
    inline = False

    def __init__(self, url: str, *, pool: int, deadlines: Deadlines | None = None) -> None:
        self._deadlines = deadlines or Deadlines()
        self._pool = Pool(lambda: Connection.open(url, self._deadlines), size=pool, wait=self._deadlines.wait)
        self.now: Reader = _Now(self._pool)

    async def ready(self) -> None:
        """Raises `Unavailable` when the server cannot be reached."""
        self._pool.give(await self._pool.take())

    async def read(self, fn: Callable[Concatenate[Reader, P], Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            async with asyncio.timeout(self._deadlines.read):
                return await self._transaction(
                    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", lambda reader: fn(reader, *args, **kwargs)
                )
        except TimeoutError as error:
            raise TooSlow from error

    async def write(self, fn: Callable[Concatenate[Work, P], Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        with metrics.db_write_seconds.timed():
            return await self._transaction("BEGIN", lambda work: fn(work, *args, **kwargs))

    async def note(self, fn: Callable[Concatenate[Work, P], Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._transaction("BEGIN; SET LOCAL synchronous_commit = off", lambda work: fn(work, *args, **kwargs))

    async def _transaction(self, begin: str, unit: Callable[[PostgresWork], Awaitable[T]]) -> T:
        for attempt in range(1, _ATTEMPTS + 1):
            connection = await self._pool.take()
            try:
                value = await _attempt(connection, begin, unit)
            except Again as error:
                if attempt == _ATTEMPTS:
                    raise Unavailable("Others were changing the same at the same time; try again.", retry_after=1) from error
            except Lost as error:
                self._pool.forget()
                if attempt > 1:
                    raise DatabaseAway(str(error)) from error
                continue
            else:
                return value
            finally:
                self._pool.give(connection)
            await asyncio.sleep(random.uniform(0.001, 0.01) * attempt)  # noqa: S311 - spreads retries, no secret
        raise AssertionError("the last attempt returns or raises")

    async def aclose(self) -> None:
        """Let what runs come to its end, then hang up. Again is harmless."""
        await self._pool.close(self._deadlines.unit)


async def _attempt(connection: Connection, begin: str, unit: Callable[[PostgresWork], Awaitable[T]]) -> T:
    await connection.command(begin)
    work = PostgresWork(connection)
    try:
        value = await only_on(work, unit(work))
        await work.finish()
    except Exception:
        if connection.in_transaction:
            await connection.command("ROLLBACK")
        raise
    finally:
        work.end()  # a cancelled unit leaves its transaction open: the pool drops the connection
    try:
        tag = await connection.command("COMMIT")
    except Lost as error:
        raise DatabaseAway(f"{error} Whether the change was made is unknown.") from error
    if tag != "COMMIT":
        raise RuntimeError(f"a unit ended in {tag}")
    return value


class _Now:
    """`Reader` for single statements."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def one(self, query: Query[T], /, **binds: object) -> T | None:
        plan = query.on(POSTGRESQL)
        return cast("T | None", plan.one(await self._rows(plan, binds)))

    async def all(self, query: Query[T], /, **binds: object) -> list[T]:
        plan = query.on(POSTGRESQL)
        return plan.all(await self._rows(plan, binds))

    async def _rows(self, plan: Plan, binds: dict[str, object]) -> list[Any]:
        try:
            return await self._once(plan, binds)
        except Lost:
            self._pool.forget()
        except Again:
            pass
        try:
            return await self._once(plan, binds)
        except (Again, Lost) as error:
            raise DatabaseAway(str(error)) from error

    async def _once(self, plan: Plan, binds: dict[str, object]) -> list[Any]:
        connection = await self._pool.take()
        try:
            return await connection.rows(plan, binds)
        finally:
            self._pool.give(connection)


async def connect(url: str, *, pool: int, deadlines: Deadlines | None) -> PostgresDatabase:
    database = PostgresDatabase(url, pool=pool, deadlines=deadlines)
    await database.ready()
    return database
