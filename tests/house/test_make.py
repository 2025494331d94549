"""The Makefile is the front door: exactly the targets that the README promises, each with help, each setting itself up."""

from __future__ import annotations

import os
import re
import subprocess
import time
from pathlib import Path

import pytest

from tests.house.sources import ROOT

TARGETS = ["setup", "run", "test", "check", "interop", "bench", "soak", "fmt", "clean"]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def make(*words: str, folder: Path = ROOT, timeout: float = 60) -> str:
    outer = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}  # `make test` runs us
    done = subprocess.run(["make", *words], cwd=folder, env=outer, capture_output=True, text=True, timeout=timeout, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_make_alone_prints_every_target_with_help() -> None:
    lines = [line.split(maxsplit=2) for line in make().splitlines()]
    assert [line[1] for line in lines] == ["help", *TARGETS]
    assert all(line[0] == "make" and len(line[2].split()) >= 3 for line in lines)


def test_there_is_no_other_target() -> None:
    rules = set(re.findall(r"^([a-z]+):", MAKEFILE, re.MULTILINE))
    assert rules == {"help", *TARGETS}
    phony = re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)
    assert phony and set(phony[1].split()) == rules


@pytest.mark.parametrize("target", [t for t in TARGETS if t not in ("setup", "clean")])
def test_a_target_sets_up_what_it_needs(target: str) -> None:
    assert re.search(rf"^{target}: setup ", MAKEFILE, re.MULTILINE)


def test_nothing_needs_root_or_a_compiler() -> None:
    assert not re.search(r"\b(?:sudo|apt-get install -|gcc|cc|npm)\b", MAKEFILE)
    assert "--only-binary :all:" in MAKEFILE and "--require-hashes" in MAKEFILE


def test_run_names_the_data_folder(tmp_path: Path) -> None:
    plan = make("--dry-run", "run", f"DATA={tmp_path}")
    assert "Data folder:" in plan and f'--root "{tmp_path}"' in plan


@pytest.mark.soak
def test_an_empty_clone_sets_itself_up(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    make("setup", folder=clone, timeout=600)
    program = subprocess.run([clone / ".venv/bin/cargohold", "--version"], capture_output=True, text=True, check=True)
    assert "cargohold" in program.stdout
    started = time.monotonic()
    make("setup", folder=clone)
    assert time.monotonic() - started < 2, "setup is quick when nothing changed"
