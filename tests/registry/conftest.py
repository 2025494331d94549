"""An open registry, one for each module and backend; `client` speaks to it, `repo` is this test's own repository.

Backends are SQLite and PostgreSQL with files; the modules of `ON_S3`, whose requests move bytes, run on SQLite with S3 too.
Tests of one module share bytes and rows, so they name only what is in their own repository, or what they have made up.
"""

from __future__ import annotations

import itertools
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import httpx
import msgspec
import pytest
import pytest_asyncio

from cargohold.config.settings import MIB, S3, Database, Settings, Storage
from cargohold.testing.server import Running, registry
from cargohold.testing.tokens import TokenService
from tests import postgres
from tests.storage.weed import s3_server as s3_server

ON_S3 = ("test_blobs", "test_clients", "test_manifests", "test_mounts", "test_referrers", "test_sessions", "test_uploads")
As = Callable[..., httpx.AsyncClient]

_numbers = itertools.count(1)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "backend" in metafunc.fixturenames:
        on_s3 = ["sqlite+s3"] if metafunc.module.__name__.rpartition(".")[2] in ON_S3 else []
        metafunc.parametrize("backend", ["sqlite+files", "postgresql+files", *on_s3], indirect=True, scope="module")


@pytest.fixture(scope="module")
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def engine(backend: str) -> str:
    return backend.partition("+")[0]


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
def settings(module_database: Database, folder: Path, backend: str, request: pytest.FixtureRequest) -> Settings:
    storage = Storage(rootdirectory=str(folder), sync="none")
    if backend.endswith("+s3"):
        bucket: S3 = request.getfixturevalue("s3_server")
        bucket = msgspec.structs.replace(bucket, rootdirectory=f"registry/{secrets.token_hex(6)}", segment=5 * MIB)
        storage = msgspec.structs.replace(storage, driver="s3", s3=bucket)
    return Settings(storage=storage, database=module_database)


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
