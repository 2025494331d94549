"""How the rest of the house talks to the database: `Reader`, `Work`, `Database`.

A query function is written once, as `async def f(r: Reader, ...)`. On SQLite it never suspends, so the protocol class can
drive it inline and the writer thread can run it inside a group commit; on PostgreSQL the same function awaits the server.

Invariants
- A unit given to `write` is all or nothing, and durable when `write` returns (`durable=False` relaxes only the sync of
  that commit, never its atomicity: it may be lost by power loss, not by `kill -9`).
- A unit awaits nothing but its `Work` and has no effect outside: it may run again (serialization failure, deadlock).
- No unit is open while bytes move.
- The first error of a statement ends its unit: nothing more can be done in it, and swallowing the error does not help.
- Units run one after the other on SQLite, side by side (READ COMMITTED) on PostgreSQL: a unit that reads, decides and writes
  locks what it read (`with_for_update()`, which SQLite's compiler drops) or puts the condition into the statement that writes.

Errors: `UniqueViolation` and `ForeignKeyViolation` below; `StorageFull`; `TooSlow` after a deadline; `Unavailable` when the server
is away, the pool stays taken or a lock is not to be had. After a cancelled or `Unavailable` write the outcome is unknown.
Engines: db/sqlite.py, db/postgres.py; db/connect.py picks one. The contract suite is tests/db/test_contract.py.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeVar

if TYPE_CHECKING:
    import msgspec

    from cargohold.db.query import Query

T = TypeVar("T")
P = ParamSpec("P")


class UniqueViolation(Exception):
    """A row with this key is there already. Units prefer `on_conflict_do_nothing` and the count of `run`; a rule that
    catches this outside its unit says what it means (`Conflict`). `columns` are those of the key, in no order."""

    def __init__(self, table: str, columns: Iterable[str]) -> None:
        self.table, self.columns = table, frozenset(columns)
        super().__init__(f"{table} has such a row already: {', '.join(sorted(self.columns))}")


class ForeignKeyViolation(Exception):
    """A row names one that is not there, or one that others name was to be deleted. (SQLite does not say which.)"""


class Reader(Protocol):
    """Binds go by the names of the statement's `bindparam`s."""

    async def one(self, query: Query[T], /, **binds: object) -> T | None:
        """The row; None without one; two or more are a LookupError."""

    async def all(self, query: Query[T], /, **binds: object) -> list[T]: ...


class Work(Reader, Protocol):
    async def run(self, query: Query[Any], /, **binds: object) -> int:
        """Rows touched."""

    def emit(self, event: msgspec.Struct) -> None:
        """A domain event (events.py); its row is written as the unit ends, in the same transaction."""


class Database(Protocol):
    dialect: str
    """`sqlite` or `postgresql`."""
    inline: bool
    """True: `now` answers without suspending."""
    now: Reader
    """Outside a snapshot: each statement sees the newest commit."""

    async def read(self, fn: Callable[Concatenate[Reader, P], Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `fn(reader, ...)` in one snapshot with a deadline of 5 s (`TooSlow`); on SQLite in a thread."""

    async def write(self, fn: Callable[Concatenate[Work, P], Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T: ...

    async def note(self, fn: Callable[Concatenate[Work, P], Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Like `write`, without waiting for the disk: for bookkeeping that a client redoes after a power loss."""

    async def aclose(self) -> None: ...
