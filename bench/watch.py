"""Processor time and memory of a server, all its processes together, read from /proc.

A server is a session of its own (`start_new_session`), so its processes are those with its session id, and the children
of those. Memory is sampled every 50 ms in a thread: `peak` is the sum over the group, `growth` the largest growth of one process.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_INTERVAL = 0.05


def _stat(pid: int) -> list[str] | None:
    """Fields of /proc/PID/stat from `state` on (field 3 is index 0); None when the process is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text.rpartition(")")[2].split()


def members(leader: int) -> list[int]:
    """Processes of the session `leader`, and their descendants that made sessions of their own."""
    parents: dict[int, int] = {}
    found: set[int] = set()
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or (fields := _stat(int(entry))) is None:
            continue
        pid = int(entry)
        parents[pid] = int(fields[1])
        if int(fields[3]) == leader:
            found.add(pid)
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return sorted(found)


def cpu_seconds(leader: int) -> float:
    """utime + stime of the group, and of the children that its leader has reaped."""
    ticks = 0
    for pid in members(leader):
        fields = _stat(pid)
        if fields is None:
            continue
        ticks += int(fields[11]) + int(fields[12])
        if pid == leader:
            ticks += int(fields[13]) + int(fields[14])
    return ticks / _TICK


def resident(pids: list[int]) -> dict[int, int]:
    """Resident bytes of each process that still lives."""
    sizes: dict[int, int] = {}
    for pid in pids:
        try:
            sizes[pid] = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
        except (FileNotFoundError, ProcessLookupError):
            continue
    return sizes


class Watch:
    """`with Watch(leader) as seen: ...`; afterwards `cpu_s`, `peak` and `growth` (bytes) tell what the group used."""

    def __init__(self, leader: int) -> None:
        self.leader = leader
        self.cpu_s = 0.0
        self.peak = 0
        self.growth = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> Self:
        self._pids = members(self.leader)
        self._before = resident(self._pids)
        self._cpu = cpu_seconds(self.leader)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.cpu_s = cpu_seconds(self.leader) - self._cpu
        self._stop.set()
        self._thread.join()

    def _sample(self) -> None:
        while True:
            sizes = resident(self._pids)
            self.peak = max(self.peak, sum(sizes.values()))
            for pid, size in sizes.items():
                self.growth = max(self.growth, size - self._before.get(pid, size))
            if self._stop.wait(_INTERVAL):
                return


def owner(leader: int, address: tuple[str, int]) -> int:
    """The process of the group that accepted the IPv4 connection whose client end is `address`; 0 until one has."""
    remote = f"{int.from_bytes(socket.inet_aton(address[0]), 'little'):08X}:{address[1]:04X}"
    for _ in range(200):
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[2] == remote and fields[9] != "0" and (pid := _holder(leader, fields[9])):
                return pid
        time.sleep(0.005)
    return 0


def _holder(leader: int, inode: str) -> int:
    for pid in members(leader):
        try:
            for entry in os.scandir(f"/proc/{pid}/fd"):
                if os.readlink(entry.path) == f"socket:[{inode}]":
                    return pid
        except FileNotFoundError:
            continue
    return 0
