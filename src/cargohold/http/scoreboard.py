"""How the processes of one server tell each other how they are: a page of shared memory made before the first fork.

    header: draining (1 byte), number of workers there should be (1 byte)
    slot:   pid, state, heartbeat (seconds of CLOCK_MONOTONIC), reason (text)

Each worker writes its own slot, the supervisor clears the slots of the dead, the admin process reads. Nothing here waits or locks:
a reader may see a reason that is one heartbeat old.

Callers: supervisor.py, worker.py, admin.py.
"""

from __future__ import annotations

import mmap
import struct
import time
from typing import NamedTuple

SLOTS = 256
STALE_SECONDS = 10.0
"""A worker whose loop did not turn for that long is not ready, whatever it said last."""

_SLOT = struct.Struct("<iBd128p")
_HEADER = 64

STARTING, SERVING, LEAVING = 1, 2, 3


class Seen(NamedTuple):
    pid: int
    state: int
    heartbeat: float
    reason: str


class Scoreboard:
    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _HEADER + SLOTS * _SLOT.size)

    def set_draining(self) -> None:
        self._memory[0] = 1

    def expect(self, workers: int) -> None:
        self._memory[1] = workers

    def write(self, slot: int, pid: int, state: int, reason: str = "") -> None:
        packed = _SLOT.pack(pid, state, time.monotonic(), reason.encode()[:127])
        start = _HEADER + slot * _SLOT.size
        self._memory[start : start + _SLOT.size] = packed

    def clear(self, slot: int) -> None:
        start = _HEADER + slot * _SLOT.size
        self._memory[start : start + _SLOT.size] = bytes(_SLOT.size)

    def seen(self) -> list[Seen]:
        """Every slot in use."""
        found = []
        for slot in range(SLOTS):
            pid, state, heartbeat, reason = _SLOT.unpack_from(self._memory, _HEADER + slot * _SLOT.size)
            if pid:
                found.append(Seen(pid, state, heartbeat, reason.decode(errors="replace")))
        return found

    def trouble(self) -> list[str]:
        """Why this server is not ready; empty when it is: as many workers serve as there should be. Those that start or leave around a
        reload do not count."""
        if self._memory[0]:
            return ["the server is shutting down"]
        now = time.monotonic()
        reasons, serving = [], 0
        for seen in self.seen():
            if seen.state == STARTING:
                reasons.append(f"worker {seen.pid} is starting")
            elif seen.state == SERVING and seen.reason:
                reasons.append(f"worker {seen.pid}: {seen.reason}")
            elif seen.state == SERVING and now - seen.heartbeat > STALE_SECONDS:
                reasons.append(f"worker {seen.pid} has not answered for {now - seen.heartbeat:.0f} seconds")
            elif seen.state == SERVING:
                serving += 1
        expected = max(1, self._memory[1])
        if serving >= expected:
            return []
        return reasons or [f"{serving} of {expected} workers are running"]
