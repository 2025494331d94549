"""The one file that knows psycopg: a connection that runs plans as prepared statements and speaks our errors.

Autocommit, binary in both directions, `$n` parameters; BEGIN, COMMIT and ROLLBACK go as plain text around psycopg's cursor, so
that a rolled-back unit does not cost the connection its prepared statements (psycopg drops them when it sees a ROLLBACK).
Integers are always sent as int8 and whole numerics come back as int (`sum()` of a bigint is one): as on SQLite.

Two errors stay inside db/: `Again` (serialization failure, deadlock, lock not to be had: the unit may run again) and `Lost` (the
connection is gone); both carry the `Unavailable` that the caller gets in the end.
Callers: db/postgres.py.
"""

from __future__ import annotations

import functools
from decimal import Decimal
from typing import Any, NoReturn, cast

import psycopg
import sqlalchemy as sa
from psycopg import conninfo, generators, pq
from psycopg.abc import Buffer
from psycopg.types.numeric import Int8BinaryDumper, NumericBinaryLoader

from cargohold.db.query import Plan
from cargohold.db.tables import metadata
from cargohold.db.unit import Deadlines
from cargohold.db.work import ForeignKeyViolation, UniqueViolation
from cargohold.errors import DatabaseAway, StorageFull, TooSlow, Unavailable
from cargohold.telemetry.scrub import scrub_text

_STATEMENTS = 1000
_DEFAULTS = {"connect_timeout": "5", "application_name": "cargohold", "keepalives_idle": "30", "tcp_user_timeout": "10000"}


class Again(Exception):
    """The unit lost a race and may run again."""


class Lost(Exception):
    """The connection is gone, and what it was doing with it."""


class _Whole(NumericBinaryLoader):
    def load(self, data: Buffer) -> Any:
        value: Decimal = super().load(data)
        return int(value) if value == value.to_integral_value() else value


class Connection:
    def __init__(self, raw: psycopg.AsyncConnection[Any]) -> None:
        self._raw = raw
        self._cursor = psycopg.AsyncRawCursor(raw)

    @classmethod
    async def open(cls, url: str, deadlines: Deadlines) -> Connection:
        """Raises `Unavailable` when the server is away, refuses or does not know us."""
        try:
            raw = await psycopg.AsyncConnection.connect(**_parts(url), autocommit=True, prepare_threshold=0)
        except psycopg.Error as error:
            raise _away(error) from error
        raw.prepared_max = _STATEMENTS
        raw.adapters.register_dumper(int, Int8BinaryDumper)
        raw.adapters.register_loader("numeric", _Whole)
        connection = cls(raw)
        try:
            await connection.command(
                f"SET statement_timeout = {int(deadlines.read * 1000)}; SET lock_timeout = {int(deadlines.unit * 1000)};"
                f" SET idle_in_transaction_session_timeout = {int(deadlines.unit * 3000)}"
            )
        except Lost as error:
            raise DatabaseAway(str(error)) from error
        return connection

    async def rows(self, plan: Plan, binds: dict[str, object]) -> list[Any]:
        await self._execute(plan, binds)
        return await self._cursor.fetchall() if plan.returns else []

    async def run(self, plan: Plan, binds: dict[str, object]) -> int:
        """Rows touched by an INSERT, UPDATE or DELETE."""
        await self._execute(plan, binds)
        return self._cursor.rowcount

    async def _execute(self, plan: Plan, binds: dict[str, object]) -> None:
        values = plan.bind(binds)
        try:
            await self._cursor.execute(cast("Any", plan.text), values, prepare=True, binary=True)
        except psycopg.Error as error:
            self._fail(error)

    async def command(self, text: str) -> str:
        """Run one or more statements without parameters or rows; the tag of the last, such as COMMIT."""
        try:
            self._raw.pgconn.send_query(text.encode())
            results = await self._raw.wait(generators.execute(self._raw.pgconn))
            for result in results:
                if result.status != pq.ExecStatus.COMMAND_OK:
                    raise psycopg.errors.error_from_result(result)
        except psycopg.Error as error:
            self._fail(error)
        return (results[-1].command_status or b"").decode()

    @property
    def in_transaction(self) -> bool:
        return self._raw.pgconn.transaction_status in (pq.TransactionStatus.INTRANS, pq.TransactionStatus.INERROR)

    @property
    def usable(self) -> bool:
        """Alive as far as we know, and idle."""
        return self._raw.pgconn.transaction_status == pq.TransactionStatus.IDLE

    def abandon(self) -> None:
        """Hang up; whatever it was in is rolled back by the server."""
        self._raw.pgconn.finish()

    def _fail(self, error: psycopg.Error) -> NoReturn:
        """Raise what an error of the driver means."""
        state = error.sqlstate or ""
        if state == "23505":
            raise UniqueViolation(*_key(error.diag.table_name or "", error.diag.constraint_name or "")) from error
        if state == "23503":
            raise ForeignKeyViolation from error
        if state == "57014":
            raise TooSlow from error
        if state == "53100":
            raise StorageFull("No space is left for the database; nothing was lost. Reading goes on.") from error
        if state in ("40001", "40P01", "55P03"):
            raise Again(f"the database asked to try again: {error}") from error
        if self._raw.pgconn.status != pq.ConnStatus.OK or state[:3] in ("57P", "080"):
            raise Lost(f"The database went away: {' '.join(str(error).split())}") from error
        if state == "25006" or (state == "0A000" and "cached plan" in str(error)):
            self.abandon()  # a standby now, or a table that changed: a new connection knows better
            raise Lost(f"The database changed: {error}") from error
        if state[:2] == "53":
            raise DatabaseAway(f"The database cannot do this right now ({error}); try again.") from error
        raise error


def _key(table: str, constraint: str) -> tuple[str, frozenset[str]]:
    return table, _keys().get(constraint, frozenset())


@functools.cache
def _keys() -> dict[str, frozenset[str]]:
    """The columns of every key by its name on PostgreSQL."""
    found: dict[str, frozenset[str]] = {}
    for table in metadata.tables.values():
        for constraint in table.constraints:
            if isinstance(constraint, sa.PrimaryKeyConstraint | sa.UniqueConstraint):
                found[str(constraint.name or f"{table.name}_pkey")] = frozenset(constraint.columns.keys())
        found |= {str(index.name): frozenset(index.columns.keys()) for index in table.indexes if index.unique}
    return found


def _parts(url: str) -> dict[str, Any]:
    return _DEFAULTS | conninfo.conninfo_to_dict(url)


def _away(error: psycopg.Error) -> Unavailable:
    """libpq repeats the whole URL, password and all, when it cannot read it."""
    return DatabaseAway(f"The database cannot be reached: {scrub_text(' '.join(str(error).split()))}")


def open_plain(url: str) -> psycopg.Connection[Any]:
    """A connection of the driver itself, for Alembic."""
    try:
        return psycopg.connect(**_parts(url))
    except psycopg.Error as error:
        raise _away(error) from error


def revision(url: str) -> str | None:
    """What Alembic has noted in the database; None in an empty one."""
    with open_plain(url) as connection:
        if connection.execute("SELECT to_regclass('alembic_version')").fetchone() == (None,):
            return None
        noted = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        return str(noted[0]) if noted else None
