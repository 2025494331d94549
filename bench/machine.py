"""What the run stood on: versions, cores, processor flags, fsync latency. Printed above the table and kept in the history."""

from __future__ import annotations

import os
import platform
import sqlite3
import statistics
import subprocess
import tempfile
import time
from importlib import metadata
from pathlib import Path

import msgspec

_PACKAGES = ("uvicorn", "uvloop", "httptools", "msgspec", "obstore", "psycopg")
_FLAGS = ("sha_ni", "avx2", "aes")


class Machine(msgspec.Struct, frozen=True):
    cores: int
    processor: str
    flags: list[str]
    system: str
    load_average: float
    fsync_us: float
    """Median of create + write 4 KiB + fsync in the work folder."""
    folder_fsync_us: float
    """The same with an fsync of the folder."""
    versions: dict[str, str]


def describe(folder: Path) -> Machine:
    return Machine(
        cores=len(os.sched_getaffinity(0)),
        processor=_processor(),
        flags=[flag for flag in _FLAGS if flag in _cpuinfo("flags").split()],
        system=f"{platform.system()} {platform.release()}",
        load_average=os.getloadavg()[0],
        fsync_us=_fsync_latency(folder, folders=False),
        folder_fsync_us=_fsync_latency(folder, folders=True),
        versions=_versions(),
    )


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "sqlite": sqlite3.sqlite_version}
    for name in ("cargohold", *_PACKAGES):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    for name, command in {"docker-registry": ["docker-registry", "--version"], "nginx": ["nginx", "-v"]}.items():
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            continue
        found[name] = (done.stdout + done.stderr).split()[-1].removeprefix("nginx/")
    return found


def _cpuinfo(field: str) -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith(field):
            return line.partition(":")[2].strip()
    return ""


def _processor() -> str:
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def _fsync_latency(folder: Path, *, folders: bool, turns: int = 60) -> float:
    taken: list[float] = []
    with tempfile.TemporaryDirectory(dir=folder) as name:
        parent = os.open(name, os.O_RDONLY)
        for turn in range(turns):
            began = time.perf_counter()
            fd = os.open(f"{name}/{turn}", os.O_CREAT | os.O_WRONLY)
            os.write(fd, bytes(4096))
            os.fsync(fd)
            os.close(fd)
            if folders:
                os.fsync(parent)
            taken.append((time.perf_counter() - began) * 1e6)
        os.close(parent)
    return statistics.median(taken)
