"""A small file that the administrator edits while we run: htpasswd, certificates, JWKS. Read at the start, and again when it changes.

    read at start --unreadable--> ConfigInvalid, the server does not start
    running --changed--> new bytes --vanished or unreadable--> the last good ones stay, one line in the log

Asking costs one clock read; the file is looked at (one stat) at most once in `INTERVAL`. A file whose time stamp is as young as
the clock's grain may change once more without showing it, so it is read again at the next look. Callers: the providers.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from cargohold.config.origin import ConfigInvalid, Origin, Problem
from cargohold.telemetry import log

INTERVAL = 1.0
"""Seconds between two looks at the file."""
_YOUNG = 2 * 10**9
"""Nanoseconds; some file systems keep times in steps of two seconds."""


def unusable(key: str, text: str) -> ConfigInvalid:
    """The refusal to start because of what a setting names."""
    return ConfigInvalid([Problem(Origin(), text, key)])


class WatchedFile:
    def __init__(self, path: str, setting: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`setting` is the key path that names the file, for messages."""
        self.path, self.setting = Path(path), setting
        self._clock = clock
        self._next = 0.0
        self._seen: tuple[int, ...] | None = None
        self._missed = ""
        self._content = b""

    def first(self) -> bytes:
        """Raises `ConfigInvalid` when the file cannot be read."""
        self._next = self._clock() + INTERVAL
        try:
            return self._read()
        except OSError as error:
            raise unusable(self.setting, f"{self.path}: {error.strerror or error}") from error

    def changed(self, *, now: bool = False) -> bytes | None:
        """New content, or None when nothing changed (the usual answer); `now` looks even when the last look was a moment ago."""
        moment = self._clock()
        if moment < self._next and not now:
            return None
        self._next = moment + INTERVAL
        try:
            if self._signature(os.stat(self.path)) == self._seen:
                return None
            before, content = self._content, self._read()
        except OSError as error:
            cause = error.strerror or str(error)
            if cause != self._missed:
                log.warning("file cannot be read, its last content stays in force", setting=self.setting, path=str(self.path), cause=cause)
            self._missed = cause
            return None
        self._missed = ""
        return content if content != before else None

    def _read(self) -> bytes:
        with self.path.open("rb") as file:
            state = os.fstat(file.fileno())
            content = file.read()
        young = time.time_ns() - state.st_mtime_ns < _YOUNG
        self._seen = None if young else self._signature(state)
        self._content = content
        return content

    @staticmethod
    def _signature(state: os.stat_result) -> tuple[int, ...]:
        return state.st_mtime_ns, state.st_ino, state.st_dev, state.st_size
