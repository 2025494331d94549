"""A process that migrates: `python -m tests.db.migrating URL DATA_FOLDER TARGET [TABLE]`.

With TABLE it says "reached" on standard output once that table has been created, and then hangs, its transaction open.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from cargohold.config.settings import Database as DatabaseSettings
from cargohold.db import migrate


def hang_at(table: str) -> None:
    def after(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if statement.split()[:3] == ["CREATE", "TABLE", table]:
            sys.stdout.write("reached\n")
            sys.stdout.flush()
            time.sleep(60)

    sa.event.listen(sa.Engine, "after_cursor_execute", after)


if __name__ == "__main__":
    url, folder, target, *table = sys.argv[1:]
    if table:
        hang_at(table[0])
    migrate.upgrade(DatabaseSettings(url=url), Path(folder), target)
