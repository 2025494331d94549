"""The repository itself: no empty files, no path of one machine, no address of a package index, requirements that are whole."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from tests.house.sources import ROOT, name_of, text_of, tracked

SELF = Path(__file__).resolve()
MACHINE = re.compile(r"(?<![\w.])/(?:home|root|Users|work|opt/wheels)/[\w.]")
INDEX = re.compile(
    r"--(?:extra-)?index-url|--find-links|--trusted-host|https?://[\w.@:-]*(?:pypi|pythonhosted|npmjs|artifactory|nexus)[\w.-]*",
    re.IGNORECASE,
)
TOPMOST = {".ci", "bench", "docs", "interop", "requirements", "src", "tests"}


def test_no_file_is_empty() -> None:
    assert not [name_of(path) for path in tracked() if path.stat().st_size <= 1], "give it a purpose or take it out"


def test_every_file_is_text() -> None:
    assert not [name_of(path) for path in tracked() if text_of(path) is None], "build a binary in the test that needs it"


def test_no_file_speaks_of_one_machine_or_of_an_index() -> None:
    found = [
        f"{name_of(path)}:{number}: {line.strip()}"
        for path in tracked()
        if path != SELF
        for number, line in enumerate((text_of(path) or "").splitlines(), 1)
        if MACHINE.search(line) or (INDEX.search(line) and "--no-emit-index-url" not in line)
    ]
    assert not found


def pins() -> list[str]:
    """The entries of the requirements file, each with its hashes on one line."""
    text = (ROOT / "requirements" / "dev.txt").read_text(encoding="utf-8").replace("\\\n", "")
    return [entry for entry in re.split(r"\n(?=\S)", text) if entry.strip() and not entry.startswith("#")]


def plain(requirement: str) -> str:
    """The name alone, as package indexes compare it: `PyYAML[x]>=6` is `pyyaml`."""
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found, requirement
    return re.sub(r"[-_.]+", "-", found[0]).lower()


def test_requirements_are_pinned_and_hashed() -> None:
    assert len(pins()) > 20
    for pin in pins():
        assert re.match(r"[A-Za-z0-9._-]+==\S+", pin), pin
        assert "--hash=sha256:" in pin, pin


def test_every_dependency_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    groups = [
        project["project"]["dependencies"],
        *project["project"]["optional-dependencies"].values(),
        *project["dependency-groups"].values(),
        project["build-system"]["requires"],
    ]
    missing = {plain(name) for group in groups for name in group} - {plain(pin) for pin in pins()}
    assert not missing, f"refresh requirements/dev.txt, see CONTRIBUTING.md: {missing}"


def test_the_top_is_tidy() -> None:
    folders = {path.relative_to(ROOT).parts[0] for path in tracked() if len(path.relative_to(ROOT).parts) > 1}
    assert folders <= TOPMOST, f"a new folder at the top needs a line in docs/architecture.md: {folders - TOPMOST}"
