"""What the house rules look at: every Python file of the project, parsed once, and every text file that git knows.

Callers: the tests beside it. `ROOT` is the top of the checkout; paths are given relative to it, in posix form.
"""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "cargohold"
Function = ast.FunctionDef | ast.AsyncFunctionDef


def files_below(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py") if "__pycache__" not in path.parts)


SOURCES = files_below("src")
TESTS = files_below("tests")
TOOLS = files_below("bench", "interop")


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def lines_of(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def functions_of(path: Path) -> Iterator[tuple[str, int]]:
    """`file:function` and its length in lines, decorators left out."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, Function):
            yield f"{name_of(path)}:{node.name}", (node.end_lineno or node.lineno) - node.lineno + 1


def imports_of(path: Path) -> Iterator[tuple[str, int]]:
    """Every absolute import of a file, wherever it stands: module and line. Names taken `from` a module count as the module."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module, node.lineno


@cache
def tracked() -> list[Path]:
    """Files that git tracks, or would track if they were added; outside a clone, every file that a source archive would hold."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listing.returncode == 0:
        return sorted(path for name in listing.stdout.split("\0") if name and (path := ROOT / name).is_file())
    hidden = {".venv", ".tools", ".git", "data", "__pycache__", "build", "dist"}
    return sorted(p for p in ROOT.rglob("*") if p.is_file() and not hidden & set(p.relative_to(ROOT).parts))


@cache
def text_of(path: Path) -> str | None:
    """The text of a file, or None when it is not text."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None
