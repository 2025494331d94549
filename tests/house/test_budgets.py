"""Size budgets: module, function, test file. Complexity (12) is ruff's job, see pyproject.toml.

`EXCEPTIONS` holds what may be larger, with the size it has and the reason. It may only shrink: an entry that is no
longer needed, or that allows more than the file has, fails the test.
"""

from __future__ import annotations

import statistics
from typing import NamedTuple

from tests.house.sources import SOURCES, TESTS, TOOLS, functions_of, lines_of, name_of

MODULE, FUNCTION, TEST_FILE = 600, 90, 800
TYPICAL_MODULE, TYPICAL_FUNCTION = 400, 45  # 95 of 100 stay below


class Allowed(NamedTuple):
    size: int
    reason: str


EXCEPTIONS: dict[str, Allowed] = {}

MODULES = {name_of(path): len(lines_of(path)) for path in SOURCES + TOOLS}
TEST_FILES = {name_of(path): len(lines_of(path)) for path in TESTS}
FUNCTIONS = dict(pair for path in SOURCES + TOOLS + TESTS for pair in functions_of(path))


def over(sizes: dict[str, int], budget: int) -> dict[str, int]:
    return {name: size for name, size in sizes.items() if size > (EXCEPTIONS[name].size if name in EXCEPTIONS else budget)}


def standing(sizes: list[int]) -> tuple[float, float]:
    """Median and 95th percentile."""
    return statistics.median(sizes), statistics.quantiles(sizes, n=20)[-1]


def test_modules_fit_their_budget() -> None:
    assert not over(MODULES, MODULE), "split it by noun or by verb"


def test_test_files_fit_their_budget() -> None:
    assert not over(TEST_FILES, TEST_FILE), "split it by the promise it tests"


def test_functions_fit_their_budget() -> None:
    assert not over(FUNCTIONS, FUNCTION), "give a part of it a name"


def test_the_usual_module_and_function_are_small() -> None:
    median, high = standing([size for name, size in MODULES.items() if name.startswith("src/")])
    assert high <= TYPICAL_MODULE, f"modules: median {median} lines, p95 {high}"
    median, high = standing([size for name, size in FUNCTIONS.items() if name.startswith("src/")])
    assert high <= TYPICAL_FUNCTION, f"functions: median {median} lines, p95 {high}"


def test_exceptions_only_shrink() -> None:
    sizes = MODULES | TEST_FILES | FUNCTIONS
    stale = {name: (entry.size, sizes.get(name, 0)) for name, entry in EXCEPTIONS.items() if sizes.get(name, 0) != entry.size}
    assert not stale, "allowed and real size differ; lower the entry or drop it"
    assert all(len(entry.reason.split()) > 3 for entry in EXCEPTIONS.values())
