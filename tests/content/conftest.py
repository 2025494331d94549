"""A store on each pair of database engine and driver that is worth its time; `second` is another worker on the same data.

backend      sqlite+files, postgresql+files, sqlite+s3 (a real server, segments of 5 MiB), sqlite+memory
store        on that backend; `second` has its own connections and its own driver (but the memory's, which is one process)
on_files     the same for tests of what only files have: both engines
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest

from cargohold.config.settings import MIB, Limits
from cargohold.config.settings import Database as DatabaseSettings
from cargohold.content.gates import Gates
from cargohold.content.store import Store
from cargohold.db.connect import connect
from cargohold.db.work import Database
from cargohold.storage.driver import Driver
from cargohold.storage.drivers.files import FilesDriver
from cargohold.storage.drivers.memory import MemoryDriver
from cargohold.storage.drivers.s3.driver import S3Driver
from tests.storage.weed import s3_server as s3_server
from tests.storage.weed import s3_settings as s3_settings

BACKENDS = ["sqlite+files", "postgresql+files", "sqlite+s3", "sqlite+memory"]
on_files = pytest.mark.parametrize("backend", ["sqlite+files", "postgresql+files"], indirect=True)
on_s3 = pytest.mark.parametrize("backend", ["sqlite+s3"], indirect=True)
on_engines = on_files
"""For tests of rows alone, where the driver plays no part."""


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def engine(backend: str) -> str:
    return backend.partition("+")[0]


@pytest.fixture
def new_driver(backend: str, data_folder: Path, request: pytest.FixtureRequest) -> Callable[[], Driver]:
    """Makes a driver on the bytes of this test."""
    if backend.endswith("+s3"):
        settings = msgspec.structs.replace(request.getfixturevalue("s3_settings"), segment=5 * MIB)
        return lambda: S3Driver(settings)
    if backend.endswith("+memory"):
        memory = MemoryDriver()
        return lambda: memory
    return lambda: FilesDriver(str(data_folder))


@pytest.fixture
async def store(database: Database, new_driver: Callable[[], Driver]) -> AsyncIterator[Store]:
    made = Store(database, new_driver(), Limits(), Gates())
    yield made
    await made.settle()
    await made.driver.aclose()


@pytest.fixture
async def second(
    store: Store, database_settings: DatabaseSettings, data_folder: Path, new_driver: Callable[[], Driver]
) -> AsyncIterator[Store]:
    db = await connect(database_settings, data_folder)
    made = Store(db, new_driver(), Limits(), Gates())
    yield made
    await made.settle()
    await made.driver.aclose()
    await db.aclose()
