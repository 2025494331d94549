"""The program as a process: arguments in, what it printed and how it ended out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = [sys.executable, "-m", "cargohold"]


def run(*words: str | Path, folder: Path | None = None, environ: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Without the variables of the tests' own environment that would be settings."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("REGISTRY_", "CARGOHOLD_"))}
    return subprocess.run(
        [*PROGRAM, *map(str, words)],
        cwd=folder,
        env={**clean, **(environ or {})},
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
        check=False,
    )


def fails(*words: str | Path, code: int, folder: Path | None = None, environ: dict[str, str] | None = None) -> list[str]:
    """The lines on standard error of a run that must end with that code, without a traceback and without data."""
    done = run(*words, folder=folder, environ=environ)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert not done.stdout
    return done.stderr.splitlines()
