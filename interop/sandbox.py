"""A private view of /etc and /var/lib: real clients read their certificates and hosts there, and nothing of this machine is written.

`enter` starts the program anew inside a mount namespace of its own; in it both folders are overlays whose changes land in the
work folder. `/etc/docker/certs.d/...`, `/etc/containers/...` and `/etc/hosts` are thus the real places, as a person would use
them, and vanish with the process. It needs root on Linux; without it `inside()` stays false and the clients that need it are not run.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

COVERED = ("/etc", "/var/lib")
MARK = "INTEROP_SANDBOX"


def possible() -> str:
    """Empty, or why there can be no private view."""
    if sys.platform != "linux":
        return "needs Linux"
    if os.geteuid() != 0:
        return "needs root"
    probe = subprocess.run(["unshare", "--mount", "--propagation", "private", "true"], capture_output=True, text=True, check=False)
    return "" if probe.returncode == 0 else f"no mount namespace: {probe.stderr.strip()}"


def inside() -> bool:
    return MARK in os.environ


def folder() -> Path:
    return Path(os.environ[MARK])


def enter(work: Path, arguments: list[str]) -> None:
    """Never returns: the same program goes on inside, with the work folder in the environment."""
    os.environ[MARK] = str(work)
    python = [sys.executable, "-m", "interop", *arguments]
    os.execvp("unshare", ["unshare", "--mount", "--propagation", "private", *python])


def cover(work: Path) -> None:
    """Lay the overlays, and give the made-up names of the run their address."""
    for place in COVERED:
        upper, scratch = (work / "sandbox" / place.strip("/").replace("/", "-") / part for part in ("changes", "scratch"))
        upper.mkdir(parents=True)
        scratch.mkdir()
        options = f"lowerdir={place},upperdir={upper},workdir={scratch}"
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, place], check=True)
    with Path("/etc/hosts").open("a") as hosts:
        hosts.write("\n::1 reg.test\n")
