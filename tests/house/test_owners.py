"""A library that drives something is imported by the one place that owns it; everybody else speaks to that place.

`OWNERS` names the places: a file, or a folder with a slash at its end. Tests, bench and interop may import what they like.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.house.sources import PACKAGE, SOURCES, imports_of, name_of

OWNERS: dict[str, tuple[str, ...]] = {
    "alembic": ("db/migrate.py", "db/migrations/"),
    "asyncpg": (),
    "aiosqlite": (),
    "bcrypt": ("auth/providers/htpasswd.py",),
    "boto3": ("storage/drivers/s3.py",),
    "botocore": ("storage/drivers/s3.py",),
    "click": ("cli/",),
    "httptools": ("http/protocol.py",),
    "joserfc": ("auth/providers/token.py",),
    "jwt": (),
    "obstore": ("storage/drivers/s3.py",),
    "prometheus_client": ("telemetry.py",),
    "psycopg": ("db/postgres.py",),
    "psycopg_pool": (),
    "sqlite3": ("db/sqlite.py",),
    "structlog": ("telemetry.py",),
    "uvicorn": ("http/",),
    "uvloop": ("http/",),
    "yaml": ("config/load.py",),
}


def place_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def owns(place: str, library: str) -> bool:
    return any(place == owner or (owner.endswith("/") and place.startswith(owner)) for owner in OWNERS[library])


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_a_driver_library_is_imported_by_its_owner_alone(path: Path) -> None:
    strays = [
        f"{name_of(path)}:{line} imports {module}"
        for module, line in imports_of(path)
        if (library := module.partition(".")[0]) in OWNERS and not owns(place_of(path), library)
    ]
    assert not strays, strays


@pytest.mark.parametrize("library", sorted(library for library, owners in OWNERS.items() if owners))
def test_every_owner_is_there_and_needs_its_library(library: str) -> None:
    """An owner that went away, or that no longer imports its library, is a line to take out of the table."""
    for owner in OWNERS[library]:
        found = [path for path in SOURCES if name_of(path).removeprefix("src/cargohold/").startswith(owner)]
        assert any(module.partition(".")[0] == library for path in found for module, _ in imports_of(path)), (
            f"{owner} does not use {library}"
        )
