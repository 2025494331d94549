"""A process that counts in the database, 8 at a time: `python -m tests.db.counting URL DATA_FOLDER TIMES`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from cargohold.config.settings import Database as DatabaseSettings
from cargohold.db.connect import connect
from tests.db.statements import count


async def main(url: str, folder: Path, times: int) -> None:
    database = await connect(DatabaseSettings(url=url, pool=4), folder)
    turns = asyncio.Semaphore(8)

    async def once() -> None:
        async with turns:
            await database.write(count, "n")

    await asyncio.gather(*(once() for _ in range(times)))
    await database.aclose()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])))
