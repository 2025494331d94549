"""Opening the database that the settings name: the one place that knows there are two engines.

    url empty          SQLite, <data folder>/_cargohold/cargohold.db
    postgresql://...   PostgreSQL, by libpq's rules (a socket folder goes into ?host=)

There is no engine in memory: worker processes share one database, so what should leave no trace (tests, the `inmemory` storage
driver) is a file in a temporary folder, with `synchronous: normal`.
Callers: app.py (each worker, after fork), tests. The schema must be there: db/migrate.py.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import cast

from cargohold.config.settings import Database as DatabaseSettings
from cargohold.db.sqlite import SqliteDatabase
from cargohold.db.unit import Deadlines
from cargohold.db.work import Database


def file_of(data_folder: Path) -> Path:
    """Where SQLite's file lies."""
    return data_folder / "_cargohold" / "cargohold.db"


async def connect(settings: DatabaseSettings, data_folder: Path, *, deadlines: Deadlines | None = None) -> Database:
    """The database, ready. Raises `Unavailable` when it cannot be reached. Close it with `aclose`, in the same loop."""
    if not settings.url:
        return SqliteDatabase(file_of(data_folder), synchronous=settings.synchronous, deadlines=deadlines)
    # psycopg is an optional dependency and costs 170 ms to import, so its engine is loaded only for a URL
    engine = importlib.import_module("cargohold.db.postgres")
    return cast("Database", await engine.connect(settings.url, pool=settings.pool, deadlines=deadlines))
