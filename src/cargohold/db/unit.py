"""What the units of work of both engines share: deadlines, the outbox, and "a unit that met a database error is over".

A failed statement ends the transaction on PostgreSQL; so that both engines behave alike, the first error of a statement breaks
the unit on SQLite too: what follows is refused, and a unit that swallows the error fails with it as it ends.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

import msgspec
import sqlalchemy as sa

from cargohold.db.query import Query
from cargohold.db.tables import events


class Deadlines(NamedTuple):
    """Seconds. `statement`: of processor time for one read in the loop (SQLite); `read`: for `read`, and for any statement on PostgreSQL;
    `unit`: for one unit of `write`; `wait`: for a connection of the pool (PostgreSQL)."""

    statement: float = 0.05
    read: float = 5.0
    unit: float = 5.0
    wait: float = 3.0


RECORD: Query[None] = Query(
    sa.insert(events).values(at=sa.bindparam("at"), kind=sa.bindparam("kind"), body=sa.bindparam("body")),
)


def record(event: msgspec.Struct) -> dict[str, object]:
    """The binds of RECORD: now, the struct's tag (or the name of its class), its JSON."""
    tag = event.__struct_config__.tag
    kind = type(event).__name__ if tag is None else str(tag)
    return {"at": datetime.now(UTC), "kind": kind, "body": msgspec.json.encode(event, enc_hook=str).decode()}


class Unit:
    """The state of one unit; `broken` is the error after which it takes no more statements."""

    __slots__ = ("broken", "outbox")

    def __init__(self) -> None:
        self.outbox: list[msgspec.Struct] = []
        self.broken: Exception | None = None

    def emit(self, event: msgspec.Struct) -> None:
        if self.broken is not None:
            raise self.refusal()
        self.outbox.append(event)

    def refusal(self) -> RuntimeError:
        return RuntimeError(f"this unit is over, it takes no more statements ({self.broken!r})")

    def end(self) -> None:
        self.broken = RuntimeError("it has ended")
