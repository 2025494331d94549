"""Rows straight into our database, for amounts that would take too long over the API.

Works on a database whose schema is there already (a server has been started on it once), also while a server runs. The tree
gets nothing: what these rows name can be listed and asked for by HEAD, not pulled. SQLite by executemany, PostgreSQL by COPY.

Callers: seed.py (the list rows of the bench), seed_scale.py.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import sqlalchemy as sa

from bench.servers import MANIFEST
from cargohold.db.tables import blobs, manifests, repositories, repository_blobs, tags

_BATCH = 20_000


def path_key(name: str) -> str:
    return name.replace("/", "!")


class Rows:
    """`with Rows(database) as rows: ...` is one transaction. `database`: path of the SQLite file, or a PostgreSQL URL."""

    def __init__(self, database: Path | str) -> None:
        url = f"sqlite:///{database}" if isinstance(database, Path) else database.replace("postgresql://", "postgresql+psycopg://", 1)
        self._engine = sa.create_engine(url)
        self._now = time.time_ns() // 1000

    def __enter__(self) -> Self:
        self._connection = self._engine.connect()
        self._transaction = self._connection.begin()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None:
            self._transaction.commit()
        else:
            self._transaction.rollback()
        self._connection.close()
        self._engine.dispose()

    def _next(self, column: sa.Column[Any]) -> int:
        return int(self._connection.execute(sa.select(sa.func.coalesce(sa.func.max(column), 0))).scalar_one()) + 1

    def _fill(self, table: sa.Table, columns: str, rows: Iterable[tuple[object, ...]]) -> None:
        raw: Any = self._connection.connection
        if self._engine.dialect.name == "postgresql":
            with raw.cursor() as cursor, cursor.copy(f"COPY {table.name} ({columns}) FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)
            if "id" in columns.split(", "):
                last = self._next(table.c.id)
                self._connection.exec_driver_sql(f"SELECT setval(pg_get_serial_sequence('{table.name}', 'id'), {last})")
            return
        marks = ", ".join("?" for _ in columns.split(", "))
        iterator = iter(rows)
        while batch := list(islice(iterator, _BATCH)):
            self._connection.exec_driver_sql(f"INSERT INTO {table.name} ({columns}) VALUES ({marks})", batch)

    def repositories(self, names: list[str]) -> range:
        """Their ids, in the order of the names."""
        first = self._next(repositories.c.id)
        self._fill(
            repositories, "id, name, path_key, created_at", ((first + at, name, path_key(name), self._now) for at, name in enumerate(names))
        )
        return range(first, first + len(names))

    def manifests(self, repository: int, bodies: list[bytes], digests: list[bytes]) -> range:
        """`digests` as they lie in the tables: a byte for the algorithm (0: sha256), then the raw hash."""
        first = self._next(manifests.c.id)
        self._fill(
            manifests,
            "id, repository_id, digest, media_type, size, pushed_at, body",
            ((first + at, repository, digests[at], MANIFEST, len(body), self._now, body) for at, body in enumerate(bodies)),
        )
        return range(first, first + len(bodies))

    def tags(self, repository: int, names: Iterable[str], manifest_ids: Iterable[int]) -> None:
        rows = ((repository, name, manifest, self._now) for name, manifest in zip(names, manifest_ids, strict=False))
        self._fill(tags, "repository_id, name, manifest_id, updated_at", rows)

    def blobs(self, count: int, owners: range) -> None:
        """Blobs with random digests, each linked to one of the repositories `owners` in turn."""
        first = self._next(blobs.c.id)
        self._fill(blobs, "id, digest, size, mark, state, leased_until, created_at", self._random_blobs(first, count))
        self._fill(repository_blobs, "repository_id, blob_id", ((owners[at % len(owners)], first + at) for at in range(count)))

    def _random_blobs(self, first: int, count: int) -> Iterator[tuple[object, ...]]:
        for at in range(count):
            yield first + at, b"\0" + os.urandom(32), 4096, 0, 0, self._now, self._now
