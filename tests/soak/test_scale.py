"""Cost stays flat: tag list and HEAD by tag with 100,000 tags and 1,000,000 blob rows, within 1.5x of an empty store."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import seed_scale


@pytest.fixture
def folder() -> Iterator[Path]:
    """Like tmp_path, but a folder that the system user of PostgreSQL can reach."""
    with tempfile.TemporaryDirectory(prefix="cargohold-scale-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.soak
@pytest.mark.parametrize("postgres", [False, True], ids=["sqlite", "postgresql"])
def test_a_full_store_costs_no_more_than_half_again_as_much_as_an_empty_one(folder: Path, postgres: bool) -> None:
    found = seed_scale.measure(folder, postgres=postgres)
    assert {line.op for line in found} == {"head-by-tag", "tags-page"}
    slow = [line for line in found if line.ratio > seed_scale.LIMIT]
    assert not slow, slow
