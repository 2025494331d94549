"""Column types that read the same on both engines, and the tables that belong to no noun: `meta` and the outbox `events`.

| type        | Python             | SQLite          | PostgreSQL       |
|-------------|--------------------|-----------------|------------------|
| Instant     | datetime, UTC      | INTEGER us      | BIGINT us        |
| Doc         | dict or list       | TEXT, JSON      | TEXT, JSON       |
| DigestBytes | Digest             | BLOB            | BYTEA            |
| ByteText    | str, byte order    | TEXT            | TEXT COLLATE "C" |
| BigId       | int                | INTEGER (rowid) | BIGINT           |

A digest is one byte for the algorithm and the raw hash: 33 bytes instead of 71 in every row and index.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

from cargohold.names import Digest

metadata = sa.MetaData()

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_ALGORITHMS = ("sha256", "sha384", "sha512")

BigId = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
ByteText = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


class Instant(TypeDecorator[datetime]):
    impl = sa.BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        return None if value is None else (value - _EPOCH) // _MICROSECOND

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        return None if value is None else _EPOCH + timedelta(microseconds=value)


class Doc(TypeDecorator[Any]):
    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else msgspec.json.encode(value).decode()

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        return None if value is None else msgspec.json.decode(value)


class DigestBytes(TypeDecorator[Digest]):
    impl = sa.LargeBinary
    cache_ok = True

    def process_bind_param(self, value: Digest | None, dialect: Dialect) -> bytes | None:
        if value is None:
            return None
        algorithm, _, encoded = value.partition(":")
        return bytes((_ALGORITHMS.index(algorithm),)) + bytes.fromhex(encoded)

    def process_result_value(self, value: bytes | None, dialect: Dialect) -> Digest | None:
        return None if value is None else Digest(f"{_ALGORITHMS[value[0]]}:{value[1:].hex()}")


meta = sa.Table(
    "meta",
    metadata,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)

events = sa.Table(
    "events",
    metadata,
    sa.Column("id", BigId, primary_key=True, autoincrement=True),
    sa.Column("at", Instant, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sqlite_autoincrement=True,
)
