"""Gets the clients: Debian packages when we are root, Go programs into .tools/bin, and says why one is missing.

Versions of the Go programs are pinned here, those of Debian are what the release has. `Programs` answers where a program is;
a Go program is built in the background while others already run, one at a time, so whoever needs it waits for it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TOOLS = ROOT / ".tools"

PACKAGES = {
    "dockerd": "docker.io",
    "containerd": "containerd",
    "runc": "runc",
    "busybox": "busybox-static",
    "podman": "podman",
    "buildah": "buildah",
    "skopeo": "skopeo",
    "nginx": "nginx-light",
    "docker-registry": "docker-registry",
    "htpasswd": "apache2-utils",
}
"""Program -> Debian package."""

BESIDE = {"docker": "dockerd", "ctr": "containerd"}
"""Programs that come with the package of another."""

MODULES = {
    "crane": "github.com/google/go-containerregistry/cmd/crane@v0.22.1",
    "oras": "oras.land/oras/cmd/oras@v1.3.6",
    "regctl": "github.com/regclient/regclient/cmd/regctl@v0.11.7",
    "conformance": "github.com/opencontainers/distribution-spec/conformance@v0.0.0-20260831232431-97274622c111",
    "helm": "helm.sh/helm/v4/cmd/helm@v4.3.1",
}
"""Program -> Go module, in the order in which they are built: the largest last."""


@dataclass
class _Build:
    done: threading.Event = field(default_factory=threading.Event)
    problem: str = ""


def packages() -> str:
    """Install what is missing; returns why something could not be, empty when all is there."""
    missing = [package for program, package in PACKAGES.items() if not _found(program)]
    if not missing:
        return ""
    if os.geteuid() != 0:
        return "not installed, and only root can install packages"
    apt = shutil.which("apt-get")
    if not apt:
        return "not installed, and there is no apt-get"
    quiet = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}  # run level 1: packages start no services
    for step in (["update", "-q"], ["install", "-q", "-y", "--no-install-recommends", *missing]):
        done = subprocess.run([apt, *step], env=quiet, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode and step[0] == "install":
            return f"apt-get {step[0]} failed: {done.stdout.strip().splitlines()[-1]}"
    return ""


def _found(program: str) -> str | None:
    """Debian's own program before another of the same name: its version is the one that is known to work."""
    return shutil.which(program, path="/usr/bin:/usr/sbin:/bin:/sbin") or shutil.which(program)


class Programs:
    """Where each program is, or why it is not there."""

    def __init__(self, apt_problem: str) -> None:
        self._apt_problem = apt_problem
        self._builds = {name: _Build() for name in MODULES}

    def build(self) -> None:
        """Start the builds that are due; they end with this process."""
        threading.Thread(target=self._build_all, daemon=True).start()

    def problem(self, name: str) -> str:
        """Empty, or why the program cannot be used. Waits for its build."""
        if name in self._builds:
            self._builds[name].done.wait()
            return self._builds[name].problem
        if _found(name):
            return ""
        return f"{name} {self._apt_problem or 'is not installed'}"

    def path(self, name: str) -> str:
        if name in self._builds:
            return str(TOOLS / "bin" / name)
        place = _found(name)
        assert place, name
        return place

    def _build_all(self) -> None:
        go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin:/usr/lib/go/bin")
        for name, module in MODULES.items():
            build = self._builds[name]
            build.problem = _build(go, name, module)
            build.done.set()


def _build(go: str | None, name: str, module: str) -> str:
    program, mark = TOOLS / "bin" / name, TOOLS / f"{name}.version"
    if program.is_file() and mark.is_file() and mark.read_text() == module:
        return ""
    if not go:
        return f"{name} needs Go to be built"
    TOOLS.mkdir(exist_ok=True)
    flags = "-p=2 -buildvcs=false"
    environment = os.environ | {"GOBIN": str(TOOLS / "bin"), "GOFLAGS": flags, "CGO_ENABLED": "0"}
    began = time.monotonic()
    done = subprocess.run(
        ["nice", "-n", "10", go, "install", "-ldflags", "-s -w", module],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        return f"go install {module} failed: {done.stdout.strip().splitlines()[-1]}"
    mark.write_text(module)
    print(f"built {name} in {time.monotonic() - began:.0f} s", flush=True)
    return ""


def version_in(text: str) -> str:
    """The first thing that looks like a version."""
    found = re.search(r"\d+\.\d+(?:\.\d+)?", text)
    return found[0] if found else "?"
