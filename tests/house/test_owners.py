"""A library that drives something is imported by the one place that owns it; everybody else speaks to that place.

`OWNERS` names the places: a file, or a folder with a slash at its end. Tests, bench and interop may import what they like.
"""

from __future__ import annotations

from pathlib import Path

from tests.house.sources import PACKAGE, SOURCES, imports_of

OWNERS: dict[str, tuple[str, ...]] = {
    "aiosqlite": (),
    "alembic": ("db/migrations/",),
    "asyncpg": (),
    "bcrypt": ("auth/providers/htpasswd.py",),
    "boto3": ("storage/drivers/s3/control.py",),
    "botocore": ("storage/drivers/s3/control.py",),
    "click": ("app.py", "cli/"),  # app.py prints what the supervisor announces
    "httptools": ("http/protocol.py",),
    "joserfc": ("auth/tokens.py",),
    "jwt": (),
    "obstore": ("storage/drivers/s3/objects.py",),
    "prometheus_client": ("telemetry/exposition.py",),
    "psycopg": ("db/postgres_connection.py",),
    "psycopg_pool": (),
    "sqlite3": ("db/sqlite_connection.py",),
    "structlog": ("telemetry/logs.py",),
    "uvicorn": ("http/",),
    "uvloop": ("app.py", "http/worker.py"),
    "yaml": ("config/document.py",),
}


def place_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def owns(place: str, library: str) -> bool:
    return any(place == owner or (owner.endswith("/") and place.startswith(owner)) for owner in OWNERS[library])


def libraries_of(path: Path) -> set[str]:
    return {module.partition(".")[0] for module, _ in imports_of(path)} & OWNERS.keys()


def test_a_driver_library_is_imported_by_its_owner_alone() -> None:
    uses = [(place_of(path), library) for path in SOURCES for library in libraries_of(path)]
    assert not [(place, library) for place, library in uses if not owns(place, library)]


def test_every_owner_is_there_and_needs_its_library() -> None:
    """An owner that went away, or that no longer imports its library, is a line to take out of the table."""
    uses = [(place_of(path), library) for path in SOURCES for library in libraries_of(path)]
    claims = [(owner, library) for library, owners in OWNERS.items() for owner in owners]
    assert not [
        (owner, library) for owner, library in claims if not any(used == library and place.startswith(owner) for place, used in uses)
    ]
