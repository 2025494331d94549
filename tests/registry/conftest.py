"""An open registry on files and a database, one for each module and engine; `client` speaks to it, `repo` is this test's own repository.

Tests of one module share bytes and rows, so they name only what is in their own repository, or what they have made up.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import httpx
import msgspec
import pytest
import pytest_asyncio

from cargohold.config.settings import Database, Settings, Storage
from cargohold.testing.server import Running, registry
from cargohold.testing.tokens import TokenService
from tests import postgres

As = Callable[..., httpx.AsyncClient]

_numbers = itertools.count(1)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("registry")


@pytest.fixture(scope="module")
def module_database(engine: str, request: pytest.FixtureRequest) -> Iterator[Database]:
    """An empty database; the registry brings its schema up to date itself."""
    if engine == "sqlite":
        yield Database(synchronous="normal")
        return
    server: postgres.Server = request.getfixturevalue("postgres_server")
    name = server.create()
    yield Database(url=server.url(name), pool=4)
    server.drop(name)


@pytest.fixture(scope="module")
def settings(module_database: Database, folder: Path) -> Settings:
    return Settings(storage=Storage(rootdirectory=str(folder), sync="none"), database=module_database)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(settings: Settings) -> AsyncIterator[Running]:
    async with registry(settings) as started:
        yield started


@pytest.fixture(scope="module")
def client(running: Running) -> httpx.AsyncClient:
    return running.client


@pytest.fixture
def repo() -> str:
    return f"team{next(_numbers)}/app"


@pytest.fixture(scope="module")
def token_service() -> TokenService:
    return TokenService()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def guarded(settings: Settings, token_service: TokenService, folder: Path) -> AsyncIterator[Running]:
    """A registry that wants tokens of `token_service`; `as_` is the client of somebody with these scopes."""
    async with registry(msgspec.structs.replace(settings, auth=token_service.settings(folder))) as started:
        yield started


@pytest.fixture(scope="module")
def as_(guarded: Running, token_service: TokenService) -> As:
    def client(subject: str, *scopes: str) -> httpx.AsyncClient:
        return guarded.client_from(authorization=f"Bearer {token_service.token(subject, *scopes)}")

    return client
