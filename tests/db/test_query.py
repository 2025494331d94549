"""How a statement becomes a plan: binds, constants, rows.

The private names of SQLAlchemy that query.py uses are held here, per type and engine.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from sqlalchemy import bindparam, select

from cargohold.db.query import POSTGRESQL, SQLITE, Plan, Query, in_list, insert, upsert
from cargohold.db.tables import blobs, events, manifests, meta, repositories, tags
from cargohold.names import Digest
from tests.db.statements import NOW, Repository

ENGINES = pytest.mark.parametrize("dialect", [SQLITE, POSTGRESQL])
MICROSECONDS = 1795523415123456
SHA = Digest.of(b"bytes")
RAW = b"\x00" + bytes.fromhex(SHA.encoded)
PARAMETER = {SQLITE: r"\?", POSTGRESQL: r"\$\d+"}


def placeholders(plan: Plan, dialect: str) -> int:
    return len(set(re.findall(r"\$\d+", plan.text))) if dialect == POSTGRESQL else plan.text.count("?")


@ENGINES
def test_constants_of_the_statement_take_their_places(dialect: str) -> None:
    query: Query[str] = Query(
        select(repositories.c.name).where(repositories.c.id > 7, repositories.c.name > bindparam("after")).limit(bindparam("n"))
    )
    plan = query.on(dialect)
    values = plan.bind({"n": 5, "after": "x"})
    assert values[:3] == [7, "x", 5]
    assert len(values) == placeholders(plan, dialect)


@ENGINES
@pytest.mark.parametrize("binds", [{}, {"name": "a", "more": 1}, {"more": 1}, {"id_1": 3}])
def test_binds_are_exactly_those_of_the_statement(dialect: str, binds: dict[str, Any]) -> None:
    query: Query[int] = Query(select(repositories.c.id).where(repositories.c.name == bindparam("name"), repositories.c.id == 1))
    with pytest.raises(TypeError, match="binds missing"):
        query.on(dialect).bind(binds)


@ENGINES
def test_a_bind_that_is_used_twice_is_given_once(dialect: str) -> None:
    query: Query[int] = Query(select(meta.c.value).where((meta.c.key == bindparam("x")) | (meta.c.value == bindparam("x"))))
    plan = query.on(dialect)
    assert set(plan.bind({"x": "a"})) == {"a"}
    assert len(plan.bind({"x": "a"})) == placeholders(plan, dialect)


@ENGINES
@pytest.mark.parametrize(
    ("column", "value", "raw"),
    [
        (repositories.c.created_at, NOW, MICROSECONDS),
        (blobs.c.digest, SHA, RAW),
        (manifests.c.annotations, {"a": ["b", 1]}, '{"a":["b",1]}'),
        (manifests.c.annotations, None, None),
        (manifests.c.subject, None, None),
        (repositories.c.name, "team/app", "team/app"),
        (blobs.c.size, 1 << 40, 1 << 40),
        (manifests.c.body, b"\x00\xff", b"\x00\xff"),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_a_type_is_converted_on_its_way_in_and_out(dialect: str, column: sa.Column[Any], value: object, raw: object) -> None:
    table: sa.Table = column.table
    comparing: Query[Any] = Query(select(sa.literal_column("1")).select_from(table).where(column == bindparam("x")))
    storing: Query[Any] = Query(sa.update(table).values({column.name: bindparam("x")}))
    assert comparing.on(dialect).bind({"x": value}) == [raw]
    assert storing.on(dialect).bind({"x": value}) == [raw]
    reading: Query[Any] = Query(select(column))
    assert reading.on(dialect).one([(raw,)]) == value


def test_a_truth_of_sqlite_is_a_bool() -> None:
    query: Query[bool] = Query(select(meta.c.value == "a"))
    assert query.on(SQLITE).one([(1,)]) is True


@ENGINES
def test_only_columns_that_need_it_are_converted(dialect: str) -> None:
    plain: Query[tuple[str, str]] = Query(select(meta.c.key, meta.c.value), tuple)
    rows = [("a", "b")]
    assert plain.on(dialect).all(rows) is rows


@ENGINES
def test_a_struct_is_built_by_name(dialect: str) -> None:
    class Swapped(msgspec.Struct, frozen=True):
        created_at: datetime
        id: int

    class Keywords(msgspec.Struct, frozen=True, kw_only=True):
        id: int
        created_at: datetime
        extra: str = "unset"

    columns = select(repositories.c.id, repositories.c.created_at)
    assert Query(columns, Swapped).on(dialect).one([(3, MICROSECONDS)]) == Swapped(NOW, 3)
    assert Query(columns, Keywords).on(dialect).one([(3, MICROSECONDS)]) == Keywords(id=3, created_at=NOW)
    whole = Query(select(repositories.c.id, repositories.c.name, repositories.c.created_at), Repository)
    assert whole.on(dialect).all([(3, "a", MICROSECONDS)]) == [Repository(3, "a", NOW)]


@ENGINES
def test_columns_that_do_not_fit_are_refused(dialect: str) -> None:
    for columns in ([repositories.c.id], [repositories.c.id, repositories.c.name, repositories.c.created_at, repositories.c.path_key]):
        with pytest.raises(TypeError, match="do not fit the fields"):
            Query(select(*columns), Repository).on(dialect)
    with pytest.raises(TypeError, match="needs into"):
        Query(select(repositories.c.id, repositories.c.name)).on(dialect)


@ENGINES
def test_one_refuses_a_second_row(dialect: str) -> None:
    query: Query[str] = Query(select(meta.c.value))
    with pytest.raises(LookupError, match="2 rows"):
        query.on(dialect).one([("a",), ("b",)])


@ENGINES
def test_in_with_a_bind_is_refused(dialect: str) -> None:
    query: Query[str] = Query(select(meta.c.value).where(meta.c.key.in_(bindparam("keys", expanding=True))))
    with pytest.raises(TypeError, match="in_list"):
        query.on(dialect)


def test_a_list_is_one_value() -> None:
    names: Query[str] = Query(select(repositories.c.name).where(in_list(repositories.c.name, "names")))
    digests: Query[int] = Query(select(blobs.c.id).where(~in_list(blobs.c.digest, "digests")))
    assert names.on(SQLITE).text.endswith("WHERE (repositories.name IN (SELECT value FROM json_each(?)))")
    assert names.on(SQLITE).bind({"names": ["a", 'b"']}) == ['["a","b\\""]']
    assert digests.on(SQLITE).text.endswith("WHERE NOT (blobs.digest IN (SELECT from_hex(value) FROM json_each(?)))")
    assert digests.on(SQLITE).bind({"digests": (SHA,)}) == [f'["{RAW.hex()}"]']
    assert "= ANY ($1::TEXT[]" in names.on(POSTGRESQL).text
    assert names.on(POSTGRESQL).bind({"names": {"a"}}) == [["a"]]
    assert digests.on(POSTGRESQL).bind({"digests": [SHA]}) == [[RAW]]


@ENGINES
def test_an_insert_returns_nothing_by_itself(dialect: str) -> None:
    query = Query(insert(events).values(at=bindparam("at"), kind="k", body="b"))
    plan = query.on(dialect)
    assert "RETURNING" not in plan.text
    assert not plan.returns
    assert plan.bind({"at": NOW}) == [MICROSECONDS, "k", "b"]


@ENGINES
def test_upsert_takes_names_or_expressions(dialect: str) -> None:
    plain = Query(
        upsert(tags, key=["repository_id", "name"], values=["repository_id", "name", "manifest_id", "updated_at"], update=["manifest_id"])
    )
    assert "DO UPDATE SET manifest_id = excluded.manifest_id" in plain.on(dialect).text
    assert plain.on(dialect).bind({"repository_id": 1, "name": "v1", "manifest_id": 2, "updated_at": NOW}) == [1, "v1", 2, MICROSECONDS]
    counting = Query(upsert(meta, key=["key"], values={"key": bindparam("k"), "value": "1"}, update={"value": meta.c.value + "1"}))
    assert re.search(r"DO UPDATE SET value = \(?meta.value \|\| ", counting.on(dialect).text)
    nothing = Query(upsert(meta, key=["key"], values=["key", "value"]).returning(meta.c.value))
    assert "DO NOTHING RETURNING" in nothing.on(dialect).text
    assert nothing.on(dialect).returns
