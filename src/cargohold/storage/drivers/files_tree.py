"""The blocking half of the files driver: drafts, publishing under final keys, deleting, walking. Runs in the driver's threads.

    draft (temp file, synced) --publish--> final key --remove--> (gone, with the folders that it leaves empty)
      `--discard--> (gone)

    <root>/_cargohold/tmp/<random>        drafts; `sweep` removes those that a crash left

Invariants
- Data is on disk before a rename gives it its name; names are on disk before `publish` returns.
- A folder counts as durable once its parent was synced *after* the folder was seen, by this process; only then a new file in it is safe.
- Every OSError leaves as StorageFull or Unavailable; its text names the cause, never a path (it may reach a client).

Callers: files.py, files_staging.py.
"""

from __future__ import annotations

import ctypes
import errno
import os
import secrets
import shutil
import stat as modes
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from itertools import takewhile
from typing import TypeVar

from cargohold.errors import StorageFull, Unavailable
from cargohold.storage.driver import Entry, Small, Stat
from cargohold.storage.keys import BLOBS, OWN
from cargohold.telemetry.logs import log

TMP = OWN + "tmp/"
LINK = "/link"
T = TypeVar("T")

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_MISSING = (FileNotFoundError, NotADirectoryError)
_KEPT_DEPTH = 4  # docker/registry/v2/blobs and its like stay when they become empty
_KNOWN_FOLDERS = 8192
_RETRIES = 5
_ALONE = 2  # so few syncs are done sooner than other threads are woken for them
_SHARDS = tuple(f"{BLOBS}sha256/{number:02x}" for number in range(256))
_sync_file_system: Callable[[int], int] = getattr(ctypes.CDLL(None), "syncfs", lambda fd: -1)
_flush_file = os.fsync if sys.platform == "darwin" else os.fdatasync


@contextmanager
def translated() -> Iterator[None]:
    """Turns what the file system refuses into the two errors of the driver protocol."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StorageFull from error
        raise Unavailable(f"The file system of the registry refuses this: {error.strerror}.") from error


def write_all(fd: int, data: bytes | bytearray | memoryview, offset: int) -> None:
    view = memoryview(data)
    while len(view):
        written = os.pwrite(fd, view, offset)
        offset += written
        view = view[written:]


def stat_of(found: os.stat_result) -> Stat | None:
    return Stat(found.st_size, found.st_mtime_ns) if modes.S_ISREG(found.st_mode) else None


class Sync:
    """When bytes and names go to disk: `full`, `data` (no folders) or `none`. Tests put a counting one in its place.

    Several at once go in parallel: the journal of the file system then covers them by fewer commits (measured: half the time).
    """

    def __init__(self, level: str = "full", threads: int = 16) -> None:
        self._files = level != "none"
        self._folders = level in ("full", "journal")
        self._links = level != "journal"
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="sync")

    def files(self, fds: Sequence[int]) -> None:
        if self._files:
            self._together(self.file, fds)

    def covers(self, key: str) -> bool:
        """False for a link whose sync is left to `everything`."""
        return self._links or not key.endswith(LINK)

    def everything(self, path: str) -> None:
        """The whole file system of `path`: what `covers` left out is on disk afterwards."""
        if self._links:
            return
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if _sync_file_system(fd) != 0:
                os.sync()
        finally:
            os.close(fd)

    def folders(self, paths: Sequence[str]) -> None:
        if self._folders:
            self._together(self.folder, paths)

    def _together(self, sync: Callable[[T], None], items: Sequence[T]) -> None:
        if len(items) <= _ALONE:
            for item in items:
                sync(item)
            return
        others = [self._threads.submit(sync, item) for item in items[1:]]
        try:
            for item in items[:1]:
                sync(item)
        finally:
            wait(others)  # descriptors may be closed after this, not before
        for other in others:
            other.result()

    def file(self, fd: int) -> None:
        _flush_file(fd)

    def folder(self, path: str) -> None:
        with suppress(FileNotFoundError):  # pruned by somebody since: then there is no name to keep
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)

    def close(self) -> None:
        self._threads.shutdown(wait=False)


def _upwards(folder: str) -> Iterator[str]:
    """`folder` and those above it, up to but without the root."""
    while folder:
        yield folder
        folder = folder.rpartition("/")[0]


class Durable:
    """Folders whose own name is known to be on disk; bounded, least recently used out. Threads share it."""

    def __init__(self, limit: int = _KNOWN_FOLDERS) -> None:
        self._limit = limit
        self._known: OrderedDict[str, None] = OrderedDict()
        self._lock = threading.Lock()

    def __contains__(self, folder: str) -> bool:
        with self._lock:
            if folder in self._known:
                self._known.move_to_end(folder)
                return True
            return False

    def add(self, folders: Iterable[str]) -> None:
        with self._lock:
            for folder in folders:
                self._known[folder] = None
            while len(self._known) > self._limit:
                self._known.popitem(last=False)

    def forget(self, folder: str) -> None:
        """Drops a folder and those above it."""
        with self._lock:
            for step in _upwards(folder):
                self._known.pop(step, None)


class Tree:
    """Files below one root; keys are paths relative to it."""

    def __init__(self, root: str, sync: Sync) -> None:
        self.root = os.path.abspath(root) + "/"
        self.sync = sync
        self._durable = Durable()
        self._made = Durable()
        """Folders of links that need no sync: known to be there, not known to be durable."""

    def prepare(self) -> None:
        """Makes the root and the folder of drafts; a root that cannot be written is reported by `check`, not here."""
        with suppress(OSError):
            os.makedirs(self.root + TMP, exist_ok=True)

    def lay_out(self) -> None:
        """Makes and syncs the 256 folders that blobs are spread over, once for a new store. Starts no thread: it runs before the fork."""
        if os.path.isdir(self.root + _SHARDS[-1]):
            return
        with translated():
            for shard in _SHARDS:
                os.makedirs(self.root + shard, exist_ok=True)
            for folder in ("", *_upwards(_SHARDS[-1].rpartition("/")[0])):
                self.sync.folders([self.root + folder])

    def trust_layout(self) -> None:
        """After `lay_out`, perhaps in another process: their names need no sync any more."""
        if os.path.isdir(self.root + _SHARDS[-1]):
            self._durable.add((*_upwards(_SHARDS[-1].rpartition("/")[0]), *_SHARDS))

    def path(self, key: str) -> str:
        return self.root + key

    def stat(self, key: str) -> Stat | None:
        with translated():
            try:
                return stat_of(os.stat(self.root + key))
            except _MISSING:
                return None

    # Drafts ---------------------------------------------------------------------------------------------------------

    def new_draft(self) -> tuple[str, int]:
        """Path and descriptor of an empty draft."""
        path = f"{self.root}{TMP}{secrets.token_hex(12)}"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            return path, os.open(path, flags, 0o666)
        except FileNotFoundError:
            os.makedirs(self.root + TMP, exist_ok=True)
            return path, os.open(path, flags, 0o666)

    def draft(self, objects: Sequence[Small], beside: Sequence[int] = ()) -> list[tuple[str, str]]:
        """Writes and syncs one draft for each object; (path, key) pairs for `publish`. On an error nothing stays.

        `beside` are descriptors of the caller's that are synced on the same occasion.
        """
        drafts: list[tuple[str, str]] = []
        opened: list[int] = []
        waiting: list[int] = []
        try:
            for key, data in objects:
                path, fd = self.new_draft()
                opened.append(fd)
                drafts.append((path, key))
                write_all(fd, data, 0)
                if self.sync.covers(key):
                    waiting.append(fd)
            self.sync.files([*waiting, *beside])
        except BaseException:
            self.discard(path for path, _ in drafts)
            raise
        finally:
            for fd in opened:
                os.close(fd)
        return drafts

    def discard(self, paths: Iterable[str]) -> None:
        for path in paths:
            with suppress(OSError):
                os.unlink(path)

    def sweep(self, older: float) -> int:
        """Removes drafts that nobody touched for `older` seconds; how many."""
        swept, limit = 0, time.time() - older
        with suppress(FileNotFoundError), os.scandir(self.root + TMP) as found:
            for entry in found:
                with suppress(OSError):
                    if entry.stat(follow_symlinks=False).st_mtime <= limit:
                        os.unlink(entry.path)
                        swept += 1
        return swept

    # Final keys -----------------------------------------------------------------------------------------------------

    def publish(self, drafts: Sequence[tuple[str, str]], confirm: Sequence[str] = ()) -> None:
        """Gives synced drafts their keys, in order, then syncs every folder touched once.

        `confirm` are keys that are in place already and whose names must be durable too.
        """
        touched: set[str] = set()
        fresh: set[str] = set()
        for path, key in drafts:
            self._place(path, key, touched, fresh)
        for key in filter(self.sync.covers, confirm):
            self._reach(key.rpartition("/")[0], touched, fresh)
        self.sync.folders([self.root + folder for folder in touched])
        self._durable.add(fresh)

    def _place(self, path: str, key: str, touched: set[str], fresh: set[str]) -> None:
        folder = key.rpartition("/")[0]
        for left in reversed(range(_RETRIES)):
            try:
                if self.sync.covers(key):
                    self._reach(folder, touched, fresh)
                else:
                    self._make(folder)
                os.rename(path, self.root + key)
                return
            except FileNotFoundError:
                # Somebody removed the last file of that folder, and the folder with it.
                self._durable.forget(folder)
                self._made.forget(folder)
                fresh.difference_update(_upwards(folder))
                if not left or not os.path.exists(path):
                    raise
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                self._carry(path, key)
                return

    def _carry(self, path: str, key: str) -> None:
        """A rename over to another file system (a folder of the tree is a symlink): copy beside the target first."""
        near = f"{self.root}{key}.{secrets.token_hex(6)}.tmp"
        try:
            shutil.copyfile(path, near)
            fd = os.open(near, os.O_RDONLY | os.O_CLOEXEC)
            try:
                self.sync.files([fd])
            finally:
                os.close(fd)
            os.rename(near, self.root + key)
        except BaseException:
            self.discard([near])
            raise
        self.discard([path])

    def _reach(self, folder: str, touched: set[str], fresh: set[str]) -> None:
        """Makes `folder` and what is missing above it; notes which folders need a sync for their new names."""
        touched.add(folder)
        missing = list(takewhile(lambda step: step not in self._durable and step not in fresh, _upwards(folder)))
        for step in reversed(missing):
            with suppress(FileExistsError):
                os.mkdir(self.root + step)
            touched.add(step.rpartition("/")[0])
            fresh.add(step)

    def _make(self, folder: str) -> None:
        """`_reach` for links that are not synced."""
        missing = list(takewhile(lambda step: step not in self._made and step not in self._durable, _upwards(folder)))
        for step in reversed(missing):
            with suppress(FileExistsError):
                os.mkdir(self.root + step)
        self._made.add(missing)

    def copy(self, source: str, target: str) -> None:
        path, fd = self.new_draft()
        try:
            try:
                shutil.copyfile(self.root + source, path)
                self.sync.files([fd])
            finally:
                os.close(fd)
            self.publish([(path, target)])
        except BaseException:
            self.discard([path])
            raise

    def remove(self, keys: Sequence[str]) -> list[str]:
        """Unlinks keys and the folders they leave empty; the keys that are still there."""
        failed: list[str] = []
        touched: set[str] = set()
        for key in keys:
            try:
                os.unlink(self.root + key)
            except _MISSING:
                continue
            except OSError as error:
                log.warning("a stored file cannot be removed", key=key, cause=error.strerror)
                failed.append(key)
                continue
            left = self._prune(key.rpartition("/")[0])
            if self.sync.covers(key):
                touched.add(left)
        self.sync.folders([self.root + folder for folder in touched])
        return failed

    def _prune(self, folder: str) -> str:
        """Removes `folder` and those above it while they are empty; the first one that stays."""
        while folder.count("/") >= _KEPT_DEPTH:
            try:
                os.rmdir(self.root + folder)
            except OSError:
                break
            self._durable.forget(folder)
            self._made.forget(folder)
            folder = folder.rpartition("/")[0]
        return folder

    # Walking --------------------------------------------------------------------------------------------------------

    def walk(self, prefix: str, after: str) -> Iterator[Entry]:
        """Regular files below `prefix` in key order; holds one sorted folder for each level in memory."""
        pending = [iter(self._sorted(prefix))]
        while pending:
            for key, found in pending[-1]:
                if key.endswith("/"):
                    if key < after and not after.startswith(key):
                        continue
                    pending.append(iter(self._sorted(key)))
                    break
                if key > after:
                    try:
                        stat = stat_of(found.stat())
                    except OSError:
                        continue
                    if stat:
                        yield Entry(key, stat.size)
            else:
                pending.pop()

    def _sorted(self, folder: str) -> list[tuple[str, os.DirEntry[str]]]:
        """(key, entry) of a folder in key order; a folder's key ends with a slash. Unreadable folders are logged and empty."""
        listed: list[tuple[str, os.DirEntry[str]]] = []
        try:
            with os.scandir(self.root + folder) as found:
                for entry in found:
                    if not entry.name.isprintable():
                        continue  # not a key of ours: bytes that are no UTF-8, line breaks
                    if not entry.is_dir():
                        listed.append((folder + entry.name, entry))
                    elif not (entry.is_symlink() and self._loops(entry.path)):
                        listed.append((folder + entry.name + "/", entry))
        except _MISSING:
            return []
        except OSError as error:
            log.warning("a folder of the store cannot be listed", key=folder, cause=error.strerror)
        listed.sort(key=lambda pair: pair[0])
        return listed

    @staticmethod
    def _loops(link: str) -> bool:
        inside = os.path.realpath(os.path.dirname(link)) + "/"
        return inside.startswith(os.path.realpath(link) + "/")

    def folders(self, prefix: str) -> Iterator[str]:
        """Names of the folders directly below `prefix` that hold a file at some depth."""
        for key, _ in self._sorted(prefix):
            if key.endswith("/") and next(self.walk(key, ""), None):
                yield key[len(prefix) : -1]
