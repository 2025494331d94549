"""What every module owes its reader: a map at its head, imports at its top, a reason beside each thing that is switched off."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from tests.house.sources import SOURCES, TESTS, TOOLS, Function, lines_of, name_of, tree_of

VAGUE = {"utils", "util", "common", "helpers", "helper", "misc", "shared", "manager", "lib"}
SILENCED = re.compile(r"#\s*(?:noqa|type:\s*ignore|pragma:|mypy:)|pytest\.(?:mark\.)?(?:skip|skipif|xfail|importorskip)\b")
UNFINISHED = re.compile(r"\b(?:TODO|FIXME|XXX|HACK)\b")
REASON = re.compile(
    r"#\s*(?:noqa: [A-Z0-9, ]+|type:\s*ignore\[[a-z, -]+\]|pragma: [a-z ]+)\s*(?:#|-)\s*\S+(?:\s+\S+){2,}"  # ... three words or more
    r"|reason=|skip\(f?[\"']"
)
SELF = Path(__file__).resolve()
EVERY = SOURCES + TESTS + TOOLS


def test_a_module_opens_with_its_map() -> None:
    bare = [name_of(path) for path in EVERY if len((ast.get_docstring(tree_of(path)) or "").split()) < 5]
    assert not bare, "say what lives here, its invariants and its callers"


def test_a_module_is_named_for_what_it_holds() -> None:
    assert not [name_of(path) for path in EVERY if {path.stem, path.parent.name} & VAGUE]


def late_imports(path: Path) -> list[str]:
    return [
        f"{name_of(path)}:{node.lineno}"
        for function in ast.walk(tree_of(path))
        if isinstance(function, Function)
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom) and "# noqa: PLC0415" not in lines_of(path)[node.lineno - 1]
    ]


def test_imports_stand_at_the_top() -> None:
    """The graph of imports is what the layers are checked on, and what a reader sees; only commands load lazily."""
    assert not [place for path in SOURCES if "cli" not in path.parts for place in late_imports(path)]


def unexplained(path: Path) -> list[str]:
    return [
        f"{name_of(path)}:{number}: {line.strip()}"
        for number, line in enumerate(lines_of(path), 1)
        if UNFINISHED.search(line) or (SILENCED.search(line) and not REASON.search(line))
    ]


def test_what_is_silenced_says_why() -> None:
    assert not [place for path in EVERY if path != SELF for place in unexplained(path)], "write the reason on the same line"
