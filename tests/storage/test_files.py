"""The files driver keeps the promises of every driver, at each sync level."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cargohold.storage.driver import Driver
from cargohold.storage.drivers.files import FilesDriver
from cargohold.storage.drivers.files_tree import Sync
from tests.storage.contract import BoundedContract


class TestFiles(BoundedContract):
    @pytest.fixture(params=["full", "none"])
    async def driver(self, request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Driver]:
        driver = FilesDriver(str(tmp_path / "data"), Sync(request.param))
        yield driver
        await driver.aclose()
