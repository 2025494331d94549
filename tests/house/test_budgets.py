"""Size budgets: module, function, test file. Complexity (12) is ruff's job, see pyproject.toml.

`EXCEPTIONS` holds what may be larger, with the size it may have and the reason. It may only shrink: an entry that is no
longer needed, or that allows more than the file has, fails the test.
"""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.house.sources import SOURCES, TESTS, TOOLS, files_below, functions_of, lines_of, name_of

MODULE, FUNCTION, TEST_FILE = 600, 90, 800
TYPICAL_MODULE, TYPICAL_FUNCTION = 400, 45  # 95 of 100 stay below


class Allowed(NamedTuple):
    size: int
    reason: str


EXCEPTIONS: dict[str, Allowed] = {}


def limit(name: str, budget: int) -> int:
    found = EXCEPTIONS.get(name)
    return found.size if found else budget


def share_95(sizes: list[int]) -> float:
    return statistics.quantiles(sizes, n=20)[-1] if len(sizes) > 1 else float(sizes[0])


@pytest.mark.parametrize("path", SOURCES + TOOLS, ids=name_of)
def test_a_module_fits_its_budget(path: Path) -> None:
    assert len(lines_of(path)) <= limit(name_of(path), MODULE), f"{name_of(path)}: split it by noun or by verb"


@pytest.mark.parametrize("path", TESTS, ids=name_of)
def test_a_test_file_fits_its_budget(path: Path) -> None:
    assert len(lines_of(path)) <= limit(name_of(path), TEST_FILE), f"{name_of(path)}: split it by the promise it tests"


@pytest.mark.parametrize("path", SOURCES + TOOLS + TESTS, ids=name_of)
def test_a_function_fits_its_budget(path: Path) -> None:
    long = [(name, size) for name, size in functions_of(path) if size > limit(name, FUNCTION)]
    assert not long, f"give a part of it a name: {long}"


def test_the_usual_file_is_small() -> None:
    modules = [len(lines_of(path)) for path in SOURCES]
    functions = [size for path in SOURCES for _, size in functions_of(path)]
    assert share_95(modules) <= TYPICAL_MODULE, f"median {statistics.median(modules)}, p95 {share_95(modules)}"
    assert share_95(functions) <= TYPICAL_FUNCTION, f"median {statistics.median(functions)}, p95 {share_95(functions)}"


def test_exceptions_only_shrink() -> None:
    sizes = {name_of(path): len(lines_of(path)) for path in files_below("src", "tests", "bench", "interop")}
    sizes |= dict(pair for path in files_below("src", "tests", "bench", "interop") for pair in functions_of(path))
    stale = {name: (entry.size, sizes.get(name, 0)) for name, entry in EXCEPTIONS.items() if sizes.get(name, 0) != entry.size}
    assert not stale, f"allowed and real size differ; lower the entry or drop it: {stale}"
    assert all(entry.reason for entry in EXCEPTIONS.values())
