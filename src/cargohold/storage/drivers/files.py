"""The files driver: objects are files below one folder, in the very tree that `registry:2` has.

    put, write    draft in _cargohold/tmp/ --sync--> rename to the key --> sync the folders
    stage         bytes at their offset in one file of the upload (files_staging.py); assemble renames it to the key

Invariants
- Blocking work runs in the driver's own bounded threads, one hop for each call; `head`, `open` and reads of at most
  64 KiB are so short that they run in the loop.
- A cancelled call waits for its thread and cleans up before it lets the cancellation go on, so nothing is left behind.
- The driver may be made before a fork, but not used before it (threads do not survive one).

Callers: storage/open.py; everybody else sees the `Driver` and `LocalFiles` protocols.
"""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import TypeVar

from cargohold.errors import Corrupt, Unavailable, UploadUnknown
from cargohold.storage.driver import Content, Entry, Finding, Remember, Segment, Small, Stat, Verify
from cargohold.storage.drivers.files_staging import Staging
from cargohold.storage.drivers.files_tree import Sync, Tree, stat_of, translated, write_all
from cargohold.storage.drivers.uninterrupted import uninterrupted
from cargohold.storage.drivers.watched import watched

T = TypeVar("T")

KIB = 1 << 10
MIB = 1 << 20

_INLINE = 64 * KIB
_CHUNK = 256 * KIB
_PAGE = 500
_LOW_SPACE = 1024 * MIB
_NETWORK = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "ceph", "glusterfs", "fuse.sshfs", "fuse.glusterfs", "lustre", "afs"})


class FilesDriver:
    name = "filesystem"
    segment = MIB
    records = False

    def __init__(self, root: str, sync: Sync | None = None, threads: int = 16) -> None:
        self.sync = sync or Sync()
        self._tree = Tree(root, self.sync)
        self._staging = Staging(self._tree.root, self.sync)
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="files")
        self._tree.prepare()
        self._tree.trust_layout()

    async def _run(self, work: Callable[[], T]) -> T:
        """One hop into a thread, errors translated. Cancellation waits until the thread is done."""

        def hop() -> T:
            with translated():
                return work()

        return await uninterrupted(asyncio.get_running_loop().run_in_executor(self._threads, hop))

    # Whole objects --------------------------------------------------------------------------------------------------

    @watched
    async def put(self, objects: Sequence[Small]) -> None:
        await self._run(lambda: self._put(objects))

    def _put(self, objects: Sequence[Small], confirm: Sequence[str] = ()) -> None:
        drafts = self._tree.draft(objects)
        try:
            self._tree.publish(drafts, confirm)
        except BaseException:
            self._tree.discard(path for path, _ in drafts)
            raise

    @watched
    async def write(
        self, key: str, chunks: AsyncIterator[bytes], *, verify: Verify, remember: Remember, links: Sequence[Small] = ()
    ) -> Stat:
        """`remember` is never called: what a crash leaves is a draft, and `sweep` finds it."""
        start = bytearray()
        async for chunk in chunks:
            start += chunk
            if len(start) > _INLINE:
                return await self._write_long(key, start, chunks, verify, links)
        verify()
        await self._run(lambda: self._put([Small(key, bytes(start)), *links]))
        return self._stat_known(key)

    async def _write_long(self, key: str, start: bytearray, chunks: AsyncIterator[bytes], verify: Verify, links: Sequence[Small]) -> Stat:
        draft = _Draft(self._tree)
        try:
            await self._run(draft.open)
            waiting = start
            async for chunk in chunks:
                waiting += chunk
                if len(waiting) >= MIB:
                    full, waiting = waiting, bytearray()
                    await self._run(partial(draft.append, full))
            verify()
            await self._run(lambda: self._finish_long(draft, waiting, key, links))
        finally:
            draft.close()
        return self._stat_known(key)

    def _finish_long(self, draft: _Draft, rest: bytearray, key: str, links: Sequence[Small]) -> None:
        draft.append(rest)
        self._publish_with(links, draft.path, key, draft.fd)

    def _publish_with(self, links: Sequence[Small], path: str, key: str, *unsynced: int) -> None:
        drafts = [(path, key), *self._tree.draft(links, unsynced)]
        try:
            self._tree.publish(drafts)
        except BaseException:
            self._tree.discard(link for link, _ in drafts[1:])
            raise

    def _stat_known(self, key: str) -> Stat:
        stat = self._tree.stat(key)
        if stat is None:
            raise Unavailable("Somebody deleted what was just written.")
        return stat

    async def read(self, key: str, start: int = 0, end: int | None = None) -> Content | None:
        opened = self.open(key)
        if opened is None:
            return None
        fd, stat = opened
        end = stat.size if end is None else min(end, stat.size)
        chunks = Chunks(self, fd, start, end)
        return Content(stat, chunks)

    def open(self, key: str) -> tuple[int, Stat] | None:
        """Only regular files: a pipe or a symlink under the key counts as missing (folders of the path may be symlinks)."""
        try:
            fd = os.open(self._tree.path(key), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO):
                return None
            with translated():
                raise
        stat = stat_of(os.fstat(fd))
        if stat is None:
            os.close(fd)
            return None
        return fd, stat

    async def head(self, key: str) -> Stat | None:
        return self._tree.stat(key)

    @watched
    async def copy(self, source: str, target: str) -> None:
        await self._run(lambda: self._tree.copy(source, target))

    @watched
    async def delete(self, keys: Sequence[str]) -> list[str]:
        return await self._run(lambda: self._tree.remove(keys))

    async def list(self, prefix: str, after: str = "") -> AsyncIterator[Entry]:
        found = self._tree.walk(prefix, after)
        while page := await self._page(found):
            for entry in page:
                yield entry

    async def list_dirs(self, prefix: str) -> AsyncIterator[str]:
        found = self._tree.folders(prefix)
        while page := await self._page(found):
            for name in page:
                yield name

    async def _page(self, found: Iterator[T]) -> Sequence[T]:
        return await self._run(lambda: [*islice(found, _PAGE)])

    # Uploads --------------------------------------------------------------------------------------------------------

    @watched
    async def stage(self, upload: str, offset: int, fence: int, data: bytes | bytearray | memoryview) -> str:
        await self._run(lambda: self._staging.write(upload, offset, fence, data))
        return ""

    @watched
    async def settle(self, upload: str) -> None:
        await self._run(lambda: self._staging.settle(upload))

    async def read_staged(self, upload: str, segments: Sequence[Segment], start: int, end: int) -> AsyncIterator[bytes]:
        if start >= end:
            return
        chunks = Chunks(self, await self._run(lambda: self._staging.reader(upload)), start, end)
        try:
            async for chunk in chunks:
                yield chunk
        finally:
            await chunks.aclose()

    async def unstage(self, upload: str) -> None:
        await self._run(lambda: self._staging.drop(upload))

    @watched
    async def assemble(
        self, upload: str, segments: Sequence[Segment], size: int, key: str, *, remember: Remember, links: Sequence[Small] = ()
    ) -> Stat:
        """`segments` and `remember` are not needed here. Raises UploadUnknown when the staged bytes are not all there."""
        return await self._run(lambda: self._assemble(upload, size, key, links))

    def _assemble(self, upload: str, size: int, key: str, links: Sequence[Small]) -> Stat:
        path = self._staging.take(upload, size)
        if path is not None:
            self._publish_with(links, path, key)
            self._staging.drop(upload)
            return self._stat_known(key)
        there = self._tree.stat(key)
        if there is not None and there.size == size:
            self._put(links, confirm=[key])  # an earlier call did the rename, and perhaps died before its syncs
        elif size == 0:
            self._put([Small(key, b""), *links])
        else:
            raise UploadUnknown
        return self._stat_known(key)

    async def abandon(self, handle: str) -> None:
        """There are no handles here: `unstage` and `sweep` remove all that a half-done call leaves."""

    # House ----------------------------------------------------------------------------------------------------------

    async def sweep(self, older: float) -> int:
        return await self._run(lambda: self._tree.sweep(older))

    async def barrier(self) -> None:
        await self._run(lambda: self.sync.everything(self._tree.root))

    def free_bytes(self) -> int:
        with translated():
            return shutil.disk_usage(self._tree.root).free

    async def check(self) -> Sequence[Finding]:
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._check)

    def _check(self) -> Sequence[Finding]:
        return [
            Finding("the data folder can be written", self._fault_of_writing()),
            Finding("the disk has space", self._fault_of_space()),
            Finding("the data folder is on a disk of this machine", self._fault_of_mount()),
        ]

    def _fault_of_writing(self) -> str:
        try:
            path, fd = self._tree.new_draft()
        except OSError as error:
            return f"{self._tree.root}: {error.strerror}"
        os.close(fd)
        self._tree.discard([path])
        return ""

    def _fault_of_space(self) -> str:
        try:
            free = self.free_bytes()
        except Unavailable as error:
            return str(error)
        return "" if free >= _LOW_SPACE else f"only {free // MIB} MiB are free"

    def _fault_of_mount(self) -> str:
        kind = _kind_of_mount(self._tree.root)
        return f"it is a network mount ({kind}); SQLite is not safe there, set database.url to PostgreSQL" if kind in _NETWORK else ""

    async def aclose(self) -> None:
        await self._run(self._staging.close)
        self._threads.shutdown(wait=False)
        self.sync.close()


class _Draft:
    """A draft that grows; `close` removes it unless it got its key."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self.path, self.fd, self._size = "", -1, 0

    def open(self) -> None:
        self.path, self.fd = self._tree.new_draft()

    def append(self, data: bytearray) -> None:
        write_all(self.fd, data, self._size)
        self._size += len(data)

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
            self._tree.discard([self.path])  # a rename has taken the path away, then this does nothing


class Chunks:
    """The bytes of an open file from `start` up to `end`, at most 256 KiB at a time; owns the descriptor."""

    def __init__(self, driver: FilesDriver, fd: int, start: int, end: int) -> None:
        self._driver, self._fd, self._at, self._end = driver, fd, start, end

    def __aiter__(self) -> Chunks:
        return self

    async def __anext__(self) -> bytes:
        left = self._end - self._at
        if left <= 0 or self._fd < 0:
            await self.aclose()
            raise StopAsyncIteration
        if left <= _INLINE:
            with translated():
                data = os.pread(self._fd, left, self._at)
        else:
            data = await self._driver._run(lambda: os.pread(self._fd, min(left, _CHUNK), self._at))
        if not data:
            await self.aclose()
            raise Corrupt("A stored file is shorter than it was when it was opened.")
        self._at += len(data)
        return data

    async def aclose(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __del__(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)


def _kind_of_mount(folder: str) -> str:
    """File system type below `folder` as the kernel names it; empty where /proc is not there to tell."""
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as lines:
            mounts = [line.split(" - ") for line in lines]
    except OSError:
        return ""
    real, best, kind = os.path.realpath(folder) + "/", "", ""
    for left, right in mounts:
        point = left.split(" ")[4].rstrip("/") + "/"
        if real.startswith(point) and len(point) >= len(best):
            best, kind = point, right.split(" ")[0]
    return kind
