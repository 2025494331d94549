"""Fixtures for everybody: a data folder and a fresh, migrated database on either engine.

    data_folder        an empty folder of this test
    engine             "sqlite" or "postgresql": a test that asks for it (or for one of the two below) runs on both
    new_database       makes a database of that engine for a data folder, and gives the settings that reach it (also from another process)
    database_settings  the settings of one that is ready for `data_folder`
    database           that one, opened in the test's loop

The schema is made once and copied for each test. PostgreSQL starts when a test first needs it (tests/postgres.py).
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from cargohold.config.settings import Database as DatabaseSettings
from cargohold.db import migrate
from cargohold.db.connect import connect, file_of
from cargohold.db.work import Database
from tests import postgres

NewDatabase = Callable[[Path], DatabaseSettings]

_TEMPLATE = "cargohold_template"


@pytest.fixture
def data_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with a migrated database and nothing else."""
    folder = tmp_path_factory.mktemp("template")
    migrate.upgrade(DatabaseSettings(), folder)
    return folder


@pytest.fixture(scope="session")
def postgres_server() -> postgres.Server:
    """The server of this run, with a migrated database as a template."""
    server = postgres.server()
    with postgres.alone("template"):
        if not server.has(_TEMPLATE):
            name = server.create()
            migrate.upgrade(DatabaseSettings(url=server.url(name)), Path())
            server.rename(name, _TEMPLATE)
    return server


@pytest.fixture
def new_database(engine: str, request: pytest.FixtureRequest) -> Iterator[NewDatabase]:
    if engine == "sqlite":
        template: Path = request.getfixturevalue("sqlite_template")
        yield lambda folder: _copy(template, folder)
        return
    server: postgres.Server = request.getfixturevalue("postgres_server")
    names: list[str] = []

    def clone(folder: Path) -> DatabaseSettings:
        names.append(server.create(_TEMPLATE))
        return DatabaseSettings(url=server.url(names[-1]), pool=8)

    yield clone
    for name in names:
        server.drop(name)


def _copy(template: Path, folder: Path) -> DatabaseSettings:
    file_of(folder).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(file_of(template), file_of(folder))
    return DatabaseSettings(synchronous="normal")


@pytest.fixture
def database_settings(new_database: NewDatabase, data_folder: Path) -> DatabaseSettings:
    return new_database(data_folder)


@pytest.fixture
async def database(database_settings: DatabaseSettings, data_folder: Path) -> AsyncIterator[Database]:
    opened = await connect(database_settings, data_folder)
    yield opened
    await opened.aclose()
