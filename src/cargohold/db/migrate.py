"""Is the schema the one this code knows? One SELECT tells; Alembic is loaded only when revisions are missing.

    none or an old revision --upgrade--> HEAD
    HEAD                                 nothing to do
    one we do not know                   `SchemaTooNew`: an older program must not touch a newer database

Synchronous: it runs before there is a loop and before workers are forked, and leaves no connection or thread behind.
Callers: app.py (before the workers start), cli/, tests.
"""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any

from cargohold.config.settings import Database as DatabaseSettings
from cargohold.db import sqlite_connection
from cargohold.db.connect import file_of

REVISIONS = ("0001", "0002")
HEAD = REVISIONS[-1]


class SchemaTooNew(Exception):
    """The database belongs to a newer version of this program."""


def current(settings: DatabaseSettings, data_folder: Path) -> str | None:
    """The revision of the database; None for an empty one. Raises `Unavailable` when it cannot be reached."""
    if settings.url:
        found: str | None = _postgres().revision(settings.url)
        return found
    path = file_of(data_folder)
    return sqlite_connection.revision(path) if path.exists() else None


def behind(settings: DatabaseSettings, data_folder: Path) -> list[str]:
    """The revisions that are missing, oldest first."""
    found = current(settings, data_folder)
    if found is None:
        return list(REVISIONS)
    if found not in REVISIONS:
        raise SchemaTooNew(f"The database is at revision {found}, this program knows up to {HEAD}: use the newer program.")
    return list(REVISIONS[REVISIONS.index(found) + 1 :])


def upgrade(settings: DatabaseSettings, data_folder: Path, target: str = HEAD) -> list[str]:
    """Run the missing revisions, up to `target`; the ones that were missing. The folder is made when it is not there."""
    if not settings.url:
        _make(file_of(data_folder).parent)
    missing = [revision for revision in behind(settings, data_folder) if revision <= target]
    if missing:
        runner = importlib.import_module("cargohold.db.migrations.runner")  # late: it loads Alembic
        if settings.url:
            runner.upgrade_postgres(lambda: _postgres().open_plain(settings.url), target)
        else:
            runner.upgrade_sqlite(file_of(data_folder), target)
            _sync(file_of(data_folder).parent)
    return missing


def _make(folder: Path) -> None:
    """Make a folder so that a power loss does not take it, and all that was acknowledged in it, away again."""
    if not folder.exists():
        _make(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync(folder.parent)


def _sync(folder: Path) -> None:
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _postgres() -> Any:
    return importlib.import_module("cargohold.db.postgres_connection")  # late: it loads psycopg, an optional dependency
