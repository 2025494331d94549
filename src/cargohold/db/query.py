"""Statements, written once with SQLAlchemy Core and compiled once per engine: `Query`, `in_list`, `upsert`, `insert`.

    GET = Query(select(t.c.id, t.c.name).where(t.c.name == bindparam("name")), into=Row)
    row = await reader.one(GET, name="team/app")

    Query --first use on an engine--> Plan: text, binds in order, maker of rows --every use--> the driver

Building a `select()` costs 100 us of Python and running its text 8, so nothing is built while a request waits: a `Query` is a
module's constant, and a list with filters keeps one `Query` for each set of filters in a dict.

Invariants
- The binds of a call are exactly the statement's `bindparam` names; one too many or too few is a TypeError.
- Constants of the statement (a literal, LIMIT's hidden OFFSET 0) are binds too and are put in their places here.
- Only columns whose type needs it are converted on the way out.
- A statement that touches rows and has RETURNING may be given to `one` and `all`; they drain it.

`Compiled.positiontup`, `_bind_processors` and `_result_columns` are private names of SQLAlchemy; they are used here and
nowhere else, and tests/db/test_query.py holds them, per type and engine. Callers: every queries module, db/sqlite.py, db/postgres.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, TypeVar, cast, overload

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import psycopg as postgresql_psycopg
from sqlalchemy.dialects.sqlite import pysqlite
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.types import TypeDecorator, TypeEngine

T_co = TypeVar("T_co", covariant=True)
Convert = Callable[[Any], Any]
Row = Sequence[Any]

SQLITE, POSTGRESQL = "sqlite", "postgresql"
_DIALECTS: dict[str, Dialect] = {
    SQLITE: pysqlite.dialect(paramstyle="qmark"),
    POSTGRESQL: cast("Callable[..., Dialect]", postgresql_psycopg.dialect)(paramstyle="numeric_dollar"),
}

insert = postgresql.insert
"""INSERT with `on_conflict_do_nothing` and `on_conflict_do_update`; this one compiles on both engines. Always name `index_elements`."""


class Plan:
    """A statement as one engine runs it: `text`, `bind(binds)` for its parameters, `one(rows)` and `all(rows)` for what comes back."""

    __slots__ = ("_constants", "_slots", "_wanted", "make", "returns", "text")

    def __init__(
        self, text: str, slots: list[tuple[str, Convert | None]], constants: dict[str, Any], make: Convert | None, returns: bool
    ) -> None:
        self.text = text
        self.make = make
        self.returns = returns
        self._slots = slots
        self._constants = constants
        self._wanted = len({name for name, _ in slots}) - len(constants)

    def bind(self, binds: dict[str, Any]) -> list[Any]:
        if len(binds) != self._wanted:
            raise self._mismatch(binds)
        if self._constants:
            binds = self._constants | binds
        try:
            return [binds[name] if convert is None else convert(binds[name]) for name, convert in self._slots]
        except KeyError:
            raise self._mismatch(binds) from None

    def one(self, rows: list[Any]) -> Any:
        """The only row, made; None without one."""
        if not rows:
            return None
        if len(rows) > 1:
            raise LookupError(f"one() got {len(rows)} rows\n{self.text}")
        return rows[0] if self.make is None else self.make(rows[0])

    def all(self, rows: list[Any]) -> list[Any]:
        make = self.make
        return rows if make is None else [make(row) for row in rows]

    def _mismatch(self, binds: dict[str, Any]) -> TypeError:
        wanted = {name for name, _ in self._slots} - self._constants.keys()
        given = binds.keys() - self._constants.keys()
        return TypeError(f"binds missing: {sorted(wanted - given)}, not in the statement: {sorted(given - wanted)}\n{self.text}")


class Query(Generic[T_co]):
    """A statement and what its rows become.

    `into` a msgspec Struct: one per row, columns and fields matched by name (`label` where they differ).
    `into=tuple`: the row as it is. Without `into`: the value of the only column; nothing for a statement without rows.
    """

    __slots__ = ("_plans", "into", "statement")

    @overload
    def __init__(self: Query[Any], statement: sa.Executable, into: None = None) -> None: ...
    @overload
    def __init__(self, statement: sa.Executable, into: type[T_co]) -> None: ...

    def __init__(self, statement: sa.Executable, into: type[Any] | None = None) -> None:
        if isinstance(statement, sa.Insert) and not statement._returning:
            statement = statement.inline()  # else PostgreSQL's compiler adds RETURNING of the primary key
        self.statement = statement
        self.into = into
        self._plans: dict[str, Plan] = {}

    def on(self, dialect: str) -> Plan:
        plan = self._plans.get(dialect)
        if plan is None:
            plan = self._plans[dialect] = _plan(self.statement, self.into, _DIALECTS[dialect])
        return plan


def _plan(statement: sa.Executable, into: type[Any] | None, dialect: Dialect) -> Plan:
    compiled = cast("SQLCompiler", cast("sa.ClauseElement", statement).compile(dialect=dialect))
    if compiled.bind_names and any(bind.expanding for bind in compiled.bind_names):
        raise TypeError(f"use in_list() or literals instead of in_() with a bind: {compiled}")
    converts = cast("Mapping[str, Convert]", compiled._bind_processors)
    names = compiled.positiontup or ()
    constants = {
        name: converts[name](bind.effective_value) if name in converts else bind.effective_value
        for bind, name in compiled.bind_names.items()
        if not bind.required
    }
    slots = [(name, None if name in constants else converts.get(name)) for name in names]
    columns = [(column.keyname, column.type) for column in compiled._result_columns]
    return Plan(str(compiled), slots, constants, _maker(columns, into, dialect), bool(columns))


def _maker(columns: list[tuple[str, TypeEngine[Any]]], into: type[Any] | None, dialect: Dialect) -> Convert | None:
    """What turns a driver's row into `into`; None where the row is good as it is."""
    found: Iterable[tuple[int, Convert | None]] = (
        (place, kind.dialect_impl(dialect).result_processor(dialect, None)) for place, (_, kind) in enumerate(columns)
    )
    converts = [(place, convert) for place, convert in found if convert is not None]
    if not columns or into is tuple:
        return _converting(converts, tuple) if converts else None
    if into is None:
        if len(columns) != 1:
            raise TypeError(f"a query of {len(columns)} columns needs into=")
        return _scalar(converts)
    return _struct(into, [name for name, _ in columns], converts)


def _scalar(converts: list[tuple[int, Convert]]) -> Convert:
    if not converts:
        return lambda row: row[0]
    convert = converts[0][1]
    return lambda row: convert(row[0])


def _converting(converts: list[tuple[int, Convert]], finish: Callable[[list[Any]], Any]) -> Convert:
    def make(row: Row) -> Any:
        values = list(row)
        for place, convert in converts:
            values[place] = convert(values[place])
        return finish(values)

    return make


def _struct(into: type[Any], names: list[str], converts: list[tuple[int, Convert]]) -> Convert:
    fields = msgspec.structs.fields(into)
    needed = {field.name for field in fields if field.required}
    if not needed <= set(names) <= {field.name for field in fields} or len(set(names)) != len(names):
        raise TypeError(f"columns {names} do not fit the fields {[field.name for field in fields]} of {into.__name__}")
    if tuple(names) == into.__match_args__[: len(names)]:  # in order, and no keyword-only field among them
        return _converting(converts, lambda values: into(*values)) if converts else lambda row: into(*row)
    return _converting(converts, lambda values: into(**dict(zip(names, values, strict=True))))


class _ListOf(TypeDecorator[Any]):
    """A list bound as one value: a JSON array on SQLite (bytes as hex), an array on PostgreSQL."""

    impl = sa.Text
    cache_ok = False

    def __init__(self, item: TypeEngine[Any]) -> None:
        super().__init__()
        self.item = item

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == SQLITE:
            return dialect.type_descriptor(sa.Text())
        return dialect.type_descriptor(postgresql.ARRAY(_stored(self.item)))

    def process_bind_param(self, value: Iterable[Any] | None, dialect: Dialect) -> Any:
        convert = self.item.dialect_impl(dialect).bind_processor(dialect)
        items = [item if convert is None else convert(item) for item in value or ()]
        if dialect.name == SQLITE:
            return msgspec.json.encode([item.hex() if isinstance(item, bytes) else item for item in items]).decode()
        return items


def _stored(kind: TypeEngine[Any]) -> TypeEngine[Any]:
    """The plain type under a decorator: the array's items are converted already."""
    return kind.impl_instance if isinstance(kind, TypeDecorator) else kind


class _Among(sa.sql.functions.FunctionElement[bool]):
    type = sa.Boolean()
    name = "among"
    inherit_cache = False
    _is_implicitly_boolean = True  # a private name of SQLAlchemy: without it SQLite gets `... IN (...) = 1` and uses no index


@compiles(_Among, SQLITE)
def _among_sqlite(element: _Among, compiler: SQLCompiler, **kw: Any) -> str:
    column, values = element.clauses
    value = "from_hex(value)" if isinstance(_stored(column.type), sa.LargeBinary) else "value"
    return f"({compiler.process(column, **kw)} IN (SELECT {value} FROM json_each({compiler.process(values, **kw)})))"  # noqa: S608 - text of the compiler, no input


@compiles(_Among, POSTGRESQL)
def _among_postgresql(element: _Among, compiler: SQLCompiler, **kw: Any) -> str:
    column, values = element.clauses
    return f"({compiler.process(column, **kw)} = ANY ({compiler.process(values, **kw)}))"


def in_list(column: sa.ColumnElement[Any], name: str) -> sa.ColumnElement[bool]:
    """`column IN (...)`, the list given as one bind `name`: any iterable of values of the column, also an empty one."""
    return _Among(column, sa.bindparam(name, type_=_ListOf(column.type)))


def upsert(
    table: sa.Table,
    *,
    key: Sequence[str],
    values: Sequence[str] | Mapping[str, Any],
    update: Sequence[str] | Mapping[str, Any] = (),
) -> postgresql.Insert:
    """INSERT of `values`; where a row with this `key` is there already, its `update` columns take the new values.

    `values`: column names, each bound under its own name, or a mapping from column to expression. `update`: column names, or a
    mapping from column to expression; empty: the old row stays and `run` gives 0. `key` are the columns of a unique constraint.
    """
    rows = dict(values) if isinstance(values, Mapping) else {name: sa.bindparam(name) for name in values}
    statement = insert(table).values(rows)
    if not update:
        return statement.on_conflict_do_nothing(index_elements=list(key))
    changes = dict(update) if isinstance(update, Mapping) else {name: statement.excluded[name] for name in update}
    return statement.on_conflict_do_update(index_elements=list(key), set_=changes)
