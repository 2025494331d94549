"""The one file that knows the module sqlite3: a connection that runs plans, keeps deadlines and speaks our errors.

    inline connection   in the loop, each statement has its own deadline, of the thread's processor time
    snapshot connection in a thread, one deadline for all its statements; sees one snapshot between BEGIN and COMMIT
    writer connection   in the writer thread, one deadline for each unit

Invariants
- Every statement is read to its end before anything else happens: an open cursor would pin a snapshot and stop checkpoints.
- No error of sqlite3 leaves this file; unknown ones go on as they are (they are bugs).
- An error may have ended the transaction (disk full, interrupted write): ask `in_transaction`.

Callers: db/sqlite.py, db/sqlite_writer.py.
"""

from __future__ import annotations

import math
import os
import sqlite3
import time
from pathlib import Path
from typing import Any, NoReturn, TypeVar, cast

from cargohold.db.query import SQLITE, Plan, Query
from cargohold.db.work import ForeignKeyViolation, UniqueViolation
from cargohold.errors import DatabaseAway, StorageFull, TooSlow, Unavailable

T = TypeVar("T")

_STEPS = 20_000
"""Steps of SQLite's virtual machine between two looks at the clock: well below a millisecond."""
_WALL = 20.0
"""An inline statement may take so many times its processor time by the clock, on a machine that is busy with others."""
_BUSY = 5.0
"""Seconds to wait for a lock: ours take turns by flock, so this is for foreign tools."""
_OLDEST = (3, 38, 0)
"""RETURNING and built-in JSON."""
_SETTINGS = """
PRAGMA busy_timeout = {busy};
PRAGMA foreign_keys = ON;
PRAGMA temp_store = MEMORY;
PRAGMA cache_size = -16000;
PRAGMA mmap_size = 268435456;
PRAGMA synchronous = {synchronous};
"""


_FULL = {"SQLITE_FULL", "SQLITE_IOERR_SHMSIZE"}
_DAMAGED = {"SQLITE_NOTADB", "SQLITE_CORRUPT"}
_LATER = ("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_IOERR", "SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_PROTOCOL", "SQLITE_NOLFS")
_UNIQUE = {"SQLITE_CONSTRAINT_UNIQUE", "SQLITE_CONSTRAINT_PRIMARYKEY", "SQLITE_CONSTRAINT_ROWID"}


def turns(path: Path) -> int:
    """A file descriptor to `flock`: whoever writes to the database waits there for its turn."""
    try:
        return os.open(path.with_name(path.name + ".lock"), os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise DatabaseAway(f"The database cannot be opened: {error}") from error


class Connection:
    """A connection and its `Reader`. `until` is the time (`time.monotonic`) at which statements are stopped."""

    def __init__(self, path: Path, *, synchronous: str = "FULL", inline: bool = False, limit: float = 0.05, readonly: bool = True) -> None:
        self._readonly = readonly
        if sqlite3.sqlite_version_info < _OLDEST:
            raise Unavailable(f"Python was built with SQLite {sqlite3.sqlite_version}; {'.'.join(map(str, _OLDEST))} or newer is needed.")
        try:
            # The thread check stays on for the inline connection alone: a unit that uses `db.now` must fail, not race.
            self._raw = sqlite3.connect(path, timeout=_BUSY, isolation_level=None, check_same_thread=inline, cached_statements=512)
            self._raw.executescript(_SETTINGS.format(busy=int(_BUSY * 1000), synchronous=synchronous))
            self._raw.execute("PRAGMA query_only = ON" if readonly else "PRAGMA journal_mode = WAL").fetchall()
        except sqlite3.Error as error:
            self._fail(error)
        self._raw.create_function("from_hex", 1, bytes.fromhex, deterministic=True)
        self._execute = self._raw.cursor().execute
        self._inline = inline
        self._limit = limit
        self._cpu = self._wall = 0.0
        self.until = math.inf
        self._raw.set_progress_handler(self._overdue, _STEPS)

    def _overdue(self) -> bool:
        now = time.monotonic()
        if not self._inline:
            return now > self.until
        cpu = time.thread_time()
        if not self._cpu:
            self._cpu, self._wall = cpu, now
            return False
        return cpu - self._cpu > self._limit or now - self._wall > self._limit * _WALL

    async def one(self, query: Query[T], /, **binds: object) -> T | None:
        plan = query.on(SQLITE)
        return cast("T | None", plan.one(self.rows(plan, binds)))

    async def all(self, query: Query[T], /, **binds: object) -> list[T]:
        plan = query.on(SQLITE)
        return plan.all(self.rows(plan, binds))

    def rows(self, plan: Plan, binds: dict[str, object]) -> list[Any]:
        values = plan.bind(binds)
        self._cpu = 0.0
        try:
            return self._execute(plan.text, values).fetchall()
        except sqlite3.Error as error:
            self._fail(error)

    def run(self, plan: Plan, binds: dict[str, object]) -> int:
        """Rows touched by an INSERT, UPDATE or DELETE."""
        values = plan.bind(binds)
        try:
            cursor = self._execute(plan.text, values)
            rows = cursor.fetchall()
            if plan.returns:
                return len(rows)
            if cursor.rowcount >= 0:
                return cursor.rowcount
            touched: int = self._execute("SELECT changes()").fetchone()[0]  # the module does not count what starts with WITH
            return touched
        except sqlite3.Error as error:
            self._fail(error)

    def command(self, text: str) -> list[Any]:
        """Run BEGIN, COMMIT, a PRAGMA and their like."""
        try:
            return self._execute(text).fetchall()
        except sqlite3.Error as error:
            self._fail(error)

    def rollback(self) -> None:
        if self._raw.in_transaction:
            self._raw.rollback()

    def _fail(self, error: sqlite3.Error) -> NoReturn:
        """Raise what an error of the driver means."""
        name: str = getattr(error, "sqlite_errorname", "")
        if name in _UNIQUE:
            columns = [column.rpartition(".") for column in str(error).rpartition(": ")[2].split(", ")]
            raise UniqueViolation(columns[0][0], [column for _, _, column in columns]) from error
        if name == "SQLITE_CONSTRAINT_FOREIGNKEY":
            raise ForeignKeyViolation from error
        if name == "SQLITE_INTERRUPT":
            raise TooSlow from error
        if name in _FULL:
            raise StorageFull("No space is left for the database; nothing was lost. Reading goes on.") from error
        if name in _DAMAGED:
            raise DatabaseAway(f"The database is damaged or not one ({error}); restore it from a backup.") from error
        if name.startswith(_LATER) and not (self._readonly and name == "SQLITE_READONLY"):  # a reader that writes is a bug
            raise DatabaseAway(f"The database cannot do this right now ({error}); try again.") from error
        raise error

    @property
    def in_transaction(self) -> bool:
        return self._raw.in_transaction

    def close(self) -> None:
        self._raw.close()


def revision(path: Path) -> str | None:
    """What Alembic has noted in the file; None in an empty one."""
    connection = Connection(path)
    try:
        if not connection.command("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'"):
            return None
        noted = connection.command("SELECT version_num FROM alembic_version")
        return noted[0][0] if noted else None
    finally:
        connection.close()
