"""The memory twin keeps the promises of every driver."""

from __future__ import annotations

import pytest

from cargohold.storage.driver import Driver
from cargohold.storage.drivers.memory import MemoryDriver
from tests.storage.contract import DriverContract


class TestMemory(DriverContract):
    @pytest.fixture
    def driver(self) -> Driver:
        return MemoryDriver()
