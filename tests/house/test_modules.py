"""What every module owes its reader: a map at its head, imports at its top, a reason beside each thing that is switched off."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.house.sources import SOURCES, TESTS, TOOLS, Function, lines_of, name_of, tree_of

VAGUE = {"utils", "util", "common", "helpers", "helper", "misc", "shared", "base", "manager", "lib"}
SILENCED = re.compile(r"#\s*(?:noqa|type:\s*ignore|pragma:|mypy:)|pytest\.(?:mark\.)?(?:skip|skipif|xfail|importorskip)\b")
UNFINISHED = re.compile(r"\b(?:TODO|FIXME|XXX|HACK)\b")
REASON = re.compile(
    r"#\s*(?:noqa: [A-Z0-9, ]+|type:\s*ignore\[[a-z, -]+\]|pragma: [a-z ]+)\s*(?:#|-)\s*\S+(?:\s+\S+){2,}"  # ... three words or more
    r"|reason=|skip\(f?[\"']"
)
SELF = Path(__file__).resolve()


def is_unexplained(line: str) -> bool:
    return bool(SILENCED.search(line)) and not REASON.search(line)


@pytest.mark.parametrize("path", SOURCES + TESTS + TOOLS, ids=name_of)
def test_a_module_opens_with_its_map(path: Path) -> None:
    text = ast.get_docstring(tree_of(path)) or ""
    assert len(text.split()) >= 5, f"{name_of(path)}: say what lives here, its invariants and its callers"


@pytest.mark.parametrize("path", SOURCES + TESTS + TOOLS, ids=name_of)
def test_a_module_is_named_for_what_it_holds(path: Path) -> None:
    assert path.stem not in VAGUE and path.parent.name not in VAGUE


@pytest.mark.parametrize("path", [p for p in SOURCES if "cli" not in p.parts], ids=name_of)
def test_imports_stand_at_the_top(path: Path) -> None:
    """The graph of imports is what the layers are checked on, and what a reader sees; only commands load lazily."""
    late = [
        node.lineno
        for function in ast.walk(tree_of(path))
        if isinstance(function, Function)
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom) and "# noqa: PLC0415" not in lines_of(path)[node.lineno - 1]
    ]
    assert not late, f"{name_of(path)}: imports inside functions at lines {late}"


@pytest.mark.parametrize("path", [p for p in SOURCES + TESTS + TOOLS if p != SELF], ids=name_of)
def test_what_is_silenced_says_why(path: Path) -> None:
    silent = [(number, line.strip()) for number, line in enumerate(lines_of(path), 1) if UNFINISHED.search(line) or is_unexplained(line)]
    assert not silent, f"{name_of(path)}: write the reason beside it: {silent}"
