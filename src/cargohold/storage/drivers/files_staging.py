"""Uploads on their way in the files driver: one growing file each, held open between two pieces.

    <root>/_cargohold/uploads/<id>/data-<fence>

    (nothing) --write--> open --settle--> closed and synced --take--> (renamed to its final key by the caller)
                           ^-----write------'   `--drop--> (gone)

Invariants
- The fence is part of the name. A writer with a higher fence renames the file first, and a writer looks that its own name
  is still there before each piece, so one that slept through the loss of its lease cannot touch bytes of its successor,
  nor a blob that the file has become.
- At most `limit` descriptors are open; one that is not used for `idle` seconds is closed. Closing loses nothing.

Everything here blocks: it runs in the driver's threads, and several threads may work on one upload. Caller: files.py.
"""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from contextlib import suppress

from cargohold.errors import UploadUnknown
from cargohold.storage.drivers.files_tree import Sync, write_all
from cargohold.storage.keys import staging

_NAME = "data-"


class Opened:
    """An open staged file; `lock` is held while its descriptor is in use, `fd` is -1 once it is closed."""

    __slots__ = ("fd", "fence", "lock", "path", "touched")

    def __init__(self, path: str, fence: int) -> None:
        self.path, self.fence = path, fence
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        self.lock = threading.Lock()
        self.touched = time.monotonic()

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class Staging:
    def __init__(self, root: str, sync: Sync, limit: int = 256, idle: float = 300.0) -> None:
        self._root, self._sync = root, sync
        self._limit, self._idle = limit, idle
        self._open: OrderedDict[str, Opened] = OrderedDict()
        self._lock = threading.Lock()

    def write(self, upload: str, offset: int, fence: int, data: bytes | bytearray | memoryview) -> None:
        """Raises UploadUnknown when the bytes before `offset` are not here, or a higher fence owns them."""
        while True:
            opened = self._entry(upload, offset, fence)
            with opened.lock:
                if opened.fd < 0:
                    continue  # closed by somebody between the two lines above
                if not os.path.exists(opened.path):
                    opened.close()
                    self._forget(upload, opened)
                    raise UploadUnknown
                write_all(opened.fd, data, offset)
                opened.touched = time.monotonic()
                return

    def settle(self, upload: str) -> None:
        """Syncs what is staged and closes it."""
        with self._lock:
            opened = self._open.pop(upload, None)
        if opened is not None:
            with opened.lock:
                if opened.fd >= 0:
                    try:
                        self._sync.files([opened.fd])
                    finally:
                        opened.close()
                    return
        self._sync_closed(upload)

    def take(self, upload: str, size: int) -> str | None:
        """Path of the settled file cut to `size` bytes, or None if there is none. Raises UploadUnknown when it is too short."""
        with self._lock:
            waiting = upload in self._open
        if waiting:
            self.settle(upload)
        path = self._find(upload)[0]
        if path is None:
            return None
        there = os.stat(path).st_size
        if there < size:
            raise UploadUnknown
        if there > size:
            os.truncate(path, size)
            self._sync_closed(upload)
        return path

    def drop(self, upload: str) -> None:
        with self._lock:
            opened = self._open.pop(upload, None)
        if opened is not None:
            with opened.lock:
                opened.close()
        folder = self._root + staging(upload)
        with suppress(FileNotFoundError):
            for name in os.listdir(folder):
                with suppress(FileNotFoundError):
                    os.unlink(folder + name)
            os.rmdir(folder)

    def reader(self, upload: str) -> int:
        """A descriptor of the caller's to read what is staged; raises UploadUnknown."""
        path = self._find(upload)[0]
        if path is None:
            raise UploadUnknown
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def close(self) -> None:
        with self._lock:
            entries = list(self._open.values())
            self._open.clear()
        for opened in entries:
            with opened.lock:
                opened.close()

    def _entry(self, upload: str, offset: int, fence: int) -> Opened:
        with self._lock:
            opened = self._open.get(upload)
            if opened is not None and opened.fence == fence:
                self._open.move_to_end(upload)
                return opened
            if opened is not None and opened.fence > fence:
                raise UploadUnknown
            fresh = Opened(self._claim(upload, offset, fence), fence)
            self._open[upload] = fresh
            self._open.move_to_end(upload)
            stale = [opened] if opened is not None else []
            stale += self._evict()
        for entry in stale:
            with entry.lock:
                entry.close()
        return fresh

    def _claim(self, upload: str, offset: int, fence: int) -> str:
        """The path that a writer with this fence may write to."""
        path = f"{self._root}{staging(upload)}{_NAME}{fence}"
        found, owner = self._find(upload)
        if found is None:
            if offset:
                raise UploadUnknown
            os.makedirs(self._root + staging(upload), exist_ok=True)
        elif owner > fence:
            raise UploadUnknown
        elif owner < fence:
            os.rename(found, path)
        return path

    def _find(self, upload: str) -> tuple[str | None, int]:
        """Path and fence of the staged file; (None, -1) if there is none."""
        folder = self._root + staging(upload)
        try:
            names = os.listdir(folder)
        except FileNotFoundError:
            return None, -1
        fences = [int(name[len(_NAME) :]) for name in names if name.startswith(_NAME)]
        return (f"{folder}{_NAME}{max(fences)}", max(fences)) if fences else (None, -1)

    def _sync_closed(self, upload: str) -> None:
        path = self._find(upload)[0]
        if path is not None:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                self._sync.files([fd])
            finally:
                os.close(fd)

    def _evict(self) -> list[Opened]:
        limit = time.monotonic() - self._idle
        stale: list[Opened] = []
        while self._open:
            upload, oldest = next(iter(self._open.items()))
            if len(self._open) <= self._limit and oldest.touched > limit:
                break
            stale.append(self._open.pop(upload))
        return stale

    def _forget(self, upload: str, opened: Opened) -> None:
        with self._lock:
            if self._open.get(upload) is opened:
                del self._open[upload]
