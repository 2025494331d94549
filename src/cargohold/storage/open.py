"""Which driver the settings ask for. The S3 driver is loaded only where it is configured: its libraries are an optional extra."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import cast

from cargohold.config.settings import Storage
from cargohold.storage.driver import Driver
from cargohold.storage.drivers.files import FilesDriver
from cargohold.storage.drivers.files_tree import Sync, Tree
from cargohold.storage.drivers.memory import MemoryDriver


class MissingExtra(Exception):
    """What a driver needs is missing, its libraries or a setting; the text is one line that says what to do."""


def load_driver(settings: Storage) -> Callable[[], Driver]:
    """What makes the driver, its libraries loaded: called before a fork it spares every worker that time. Raises MissingExtra."""
    if settings.driver == "filesystem":
        return lambda: FilesDriver(settings.rootdirectory, Sync(settings.sync))
    if settings.driver == "inmemory":
        return MemoryDriver
    try:
        s3 = importlib.import_module("cargohold.storage.drivers.s3.driver")
    except ModuleNotFoundError as error:
        raise MissingExtra(f"storage.driver s3 needs {error.name}: pip install cargohold[s3]") from error
    return lambda: cast("Driver", s3.S3Driver(settings.s3))


def lay_out(settings: Storage) -> None:
    """What a new store needs once, before the first fork. Raises Unavailable and StorageFull."""
    if settings.driver == "filesystem":
        Tree(settings.rootdirectory, Sync(settings.sync)).lay_out()


def open_driver(settings: Storage) -> Driver:
    """Make the driver in the process that uses it, after every fork. Raises MissingExtra."""
    return load_driver(settings)()
