"""Stages: S3 with SQLite and S3 with PostgreSQL; the bucket server and the PostgreSQL are those of the whole run.

backend    "sqlite" or "postgresql": a test that asks for it, or for one of those below, runs on both
database   URL of a fresh database, through `postgres_gate`; empty for SQLite
stage      a running server of this test alone, with two workers
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from cargohold.config.settings import S3
from tests import postgres
from tests.backends.gate import Gate
from tests.backends.stage import Stage
from tests.storage.weed import s3_server as s3_server
from tests.storage.weed import s3_settings as s3_settings

MakeStage = Callable[..., Stage]


@pytest.fixture(params=["sqlite", "postgresql"])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def bucket(s3_settings: S3) -> Iterator[Gate]:
    address = urlsplit(s3_settings.regionendpoint)
    assert address.hostname and address.port
    with Gate((address.hostname, address.port)) as gate:
        yield gate


@pytest.fixture
def postgres_gate(postgres_server: postgres.Server) -> Iterator[Gate]:
    with Gate(f"{postgres_server.folder}/.s.PGSQL.5432", plain=True) as gate:
        yield gate


@pytest.fixture
def database(backend: str, request: pytest.FixtureRequest) -> Iterator[str]:
    if backend == "sqlite":
        yield ""
        return
    server: postgres.Server = request.getfixturevalue("postgres_server")
    gate: Gate = request.getfixturevalue("postgres_gate")
    name = server.create("cargohold_template")
    yield f"postgresql://{postgres.USER}@127.0.0.1:{gate.port}/{name}"
    server.drop(name)


@pytest.fixture
def new_stage(tmp_path: Path, s3_settings: S3, bucket: Gate, database: str) -> MakeStage:
    """Makes a stage that does not run yet; settings are those of CARGOHOLD_*."""
    return lambda **settings: Stage(tmp_path, s3_settings, bucket, database=database, **settings)


@pytest.fixture
def stage(new_stage: MakeStage) -> Iterator[Stage]:
    made = new_stage()
    with made.program:
        yield made
        assert made.program.stop() == 0
    assert "Traceback" not in made.program.log
