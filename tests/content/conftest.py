"""A store on files and on the database engine of the test; `second` is another worker on the same data."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cargohold.config.settings import Database as DatabaseSettings
from cargohold.config.settings import Limits
from cargohold.content.gates import Gates
from cargohold.content.store import Store
from cargohold.db.connect import connect
from cargohold.db.work import Database
from cargohold.storage.drivers.files import FilesDriver


@pytest.fixture
async def store(database: Database, data_folder: Path) -> AsyncIterator[Store]:
    driver = FilesDriver(str(data_folder))
    made = Store(database, driver, Limits(), Gates())
    yield made
    await made.settle()
    await driver.aclose()


@pytest.fixture
async def second(store: Store, database_settings: DatabaseSettings, data_folder: Path) -> AsyncIterator[Store]:
    db = await connect(database_settings, data_folder)
    driver = FilesDriver(str(data_folder))
    made = Store(db, driver, Limits(), Gates())
    yield made
    await made.settle()
    await driver.aclose()
    await db.aclose()
