"""A private view of /etc, /var/lib and /run: real clients read their certificates and hosts there, and nothing of this machine is written.

`enter` starts the program anew inside a mount namespace of its own; in it these folders are overlays whose changes land in the
work folder. `/etc/docker/certs.d/...`, `/etc/containers/...` and `/etc/hosts` are thus the real places, as a person would use
them, and vanish with the process. It needs root on Linux; without it `inside()` stays false and the clients that need it are not run.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

COVERED = ("/etc", "/var/lib", "/run")
MARK = "INTEROP_SANDBOX"
UNSHARE = ("unshare", "--mount", "--propagation", "private")


def possible() -> str:
    """Empty, or why there can be no private view."""
    if sys.platform != "linux":
        return "needs Linux"
    if os.geteuid() != 0:
        return "needs root"
    with tempfile.TemporaryDirectory(prefix="interop-probe-") as scratch:
        mount = [*UNSHARE, *_overlay(COVERED[0], Path(scratch))]
        probe = subprocess.run(mount, capture_output=True, text=True, check=False)
    return "" if probe.returncode == 0 else f"no private overlay: {probe.stderr.strip()}"


def _overlay(place: str, scratch: Path) -> list[str]:
    """The command that lays one over `place`, with its changes below `scratch`."""
    upper, work = scratch / "changes", scratch / "scratch"
    upper.mkdir(parents=True)
    work.mkdir()
    return ["mount", "-t", "overlay", "overlay", "-o", f"lowerdir={place},upperdir={upper},workdir={work}", place]


def inside() -> bool:
    return MARK in os.environ


def folder() -> Path:
    return Path(os.environ[MARK])


def enter(work: Path, arguments: list[str]) -> None:
    """Never returns: the same program goes on inside, with the work folder in the environment."""
    os.environ[MARK] = str(work)
    python = [sys.executable, "-m", "interop", *arguments]
    os.execvp(UNSHARE[0], [*UNSHARE, *python])


def cover(work: Path) -> None:
    """Lay the overlays, and give the made-up names of the run their address."""
    for place in COVERED:
        subprocess.run(_overlay(place, work / "sandbox" / place.strip("/").replace("/", "-")), check=True)
    with Path("/etc/hosts").open("a") as hosts:
        hosts.write("\n::1 reg.test registry.test\n")
