"""Bring a schema to a revision: everything in one transaction, one process at a time, on either engine.

    SQLite       flock -> foreign_keys=OFF -> BEGIN IMMEDIATE -> revisions -> foreign_key_check -> COMMIT
    PostgreSQL   BEGIN -> advisory lock -> lock_timeout -> revisions -> COMMIT; again when a lock was not to be had

Invariants
- A kill at any moment leaves the schema as it was; the next run completes it.
- Of two that start at once, one waits and finds nothing to do.
- Foreign keys are off while tables are rebuilt (dropping the old table would empty its children) and checked before COMMIT.

Only db/migrate.py loads this file, and only when revisions are missing: importing Alembic costs 90 ms and more.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from cargohold.db.sqlite_connection import turns
from cargohold.errors import Unavailable

_LOCK = 0x636172676F  # "cargo"
_LOCK_WAIT = "5s"
"""Longer waits for a lock on a table would block everybody who comes after us."""
_ATTEMPTS = 12
_PATIENCE = 60
"""Seconds to wait for another process that migrates."""


def upgrade_sqlite(path: Path, target: str) -> None:
    turn = turns(path)
    try:
        fcntl.flock(turn, fcntl.LOCK_EX)
        _upgrade_sqlite(path, target)
    finally:
        os.close(turn)


def _upgrade_sqlite(path: Path, target: str) -> None:
    engine = sa.create_engine(sa.URL.create("sqlite", database=str(path)), poolclass=sa.NullPool, connect_args={"timeout": _PATIENCE})
    sa.event.listen(engine, "connect", _own_transactions)
    with engine.connect() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        _run(connection, target)
        broken = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
        if broken:
            raise RuntimeError(f"the migration would leave rows that name missing ones: {broken[:3]}")
        connection.exec_driver_sql("COMMIT")


def _own_transactions(raw: Any, _: Any) -> None:
    """Else the driver would commit before DDL; and what must be set outside of a transaction."""
    raw.isolation_level = None
    with closing(raw.cursor()) as cursor:
        for pragma in ("auto_vacuum = INCREMENTAL", "journal_mode = WAL", "synchronous = FULL", "foreign_keys = OFF"):
            cursor.execute(f"PRAGMA {pragma}").fetchall()


def upgrade_postgres(open_one: Callable[[], Any], target: str) -> None:
    """`open_one` gives a connection of the driver."""
    engine = sa.create_engine("postgresql+psycopg://", creator=open_one, poolclass=sa.NullPool)
    for attempt in range(_ATTEMPTS):
        try:
            with engine.begin() as connection:
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
                connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{_LOCK_WAIT}'")
                _run(connection, target)
        except sa.exc.OperationalError as error:
            if getattr(error.orig, "sqlstate", None) != "55P03":
                raise
            time.sleep(0.5 * attempt)
        else:
            return
    raise Unavailable("The schema could not be changed: others hold locks on its tables. Stop them, or try again when they are idle.")


def _run(connection: sa.Connection, target: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, target)
