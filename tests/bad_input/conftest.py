"""One server for the whole folder, and what every test here ends with: same workers, no traceback, nothing written elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bad_input.wire import Heard
from tests.program import Program


@pytest.fixture(scope="package")
def grounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a secret beside the data folder, so that a path that leaves the data folder finds something."""
    outer = tmp_path_factory.mktemp("grounds")
    folder = outer / "a" / "b" / "c"
    (folder / "data").mkdir(parents=True)
    for beside in [outer, *folder.relative_to(outer).parents, folder]:
        (outer / beside / "secret").write_text("do not serve")
    return folder


@pytest.fixture(scope="package")
def program(grounds: Path) -> Iterator[Program]:
    with Program(grounds, workers=1, HTTP_HEADER_TIMEOUT="2", HTTP_IDLE_TIMEOUT="2") as running:
        yield running


def outside(folder: Path) -> dict[str, tuple[int, int]]:
    """Everything around the data folder with its size and time, the server's log left out."""
    ours = {folder / "log", folder / "data"}
    beside = (path for path in folder.parents[2].rglob("*") if not ours & {path, *path.parents})
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in beside}


@pytest.fixture
def server(program: Program, grounds: Path) -> Iterator[Program]:
    before, workers, told = outside(grounds), program.workers(), len(program.log)
    yield program
    assert program.answers(), "it answers no more"
    assert program.workers() == workers, "a worker died"
    assert "Traceback" not in program.log[told:], program.log[told:][-6000:]
    assert outside(grounds) == before, "something was written outside the data folder"
    assert {path.name for path in program.root.iterdir()} <= {"docker", "_cargohold"}


def faults(cases: dict[str, Heard]) -> dict[str, str]:
    return {name: fault for name, heard in cases.items() if (fault := heard.fault())}
