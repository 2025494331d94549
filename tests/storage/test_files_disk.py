"""What the files driver promises beyond the contract: syncs before the answer, a full disk, foreign files, two workers on one folder."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cargohold.errors import StorageFull, Unavailable, UploadUnknown
from cargohold.storage.driver import Small
from cargohold.storage.drivers.files import FilesDriver
from cargohold.storage.drivers.files_tree import Sync, Tree
from cargohold.storage.keys import TREE
from tests.storage.contract import BLOB, LINKS, Upload, Wrong, agree, fetch, forget, keys_below, noise, pieces


class Recorded(Sync):
    """Writes down what is synced, by path below the root, and what was visible at that moment; can fail on demand."""

    def __init__(self, root: Path, level: str = "full") -> None:
        super().__init__(level)
        self.root, self.done = root, list[str]()
        self.visible: list[bool] = []
        self.fault = 0

    def file(self, fd: int) -> None:
        if self.fault:
            raise OSError(self.fault, os.strerror(self.fault))
        path = os.readlink(f"/proc/self/fd/{fd}")
        self.visible.append((self.root / BLOB).exists())
        super().file(fd)
        self.done.append("file " + self._named(path))

    def folder(self, path: str) -> None:
        super().folder(path)
        self.done.append("folder " + self._named(path))

    def everything(self, path: str) -> None:
        super().everything(path)
        self.done.append("everything")

    def _named(self, path: str) -> str:
        return path.removeprefix(str(self.root)).strip("/")

    @property
    def folders_done(self) -> set[str]:
        return {line.removeprefix("folder ") for line in self.done if line.startswith("folder")}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def sync(root: Path) -> Recorded:
    return Recorded(root)


@pytest.fixture
async def driver(root: Path, sync: Recorded) -> AsyncIterator[FilesDriver]:
    driver = FilesDriver(str(root), sync)
    yield driver
    await driver.aclose()


def above(key: str) -> set[str]:
    """Folders whose entries change when `key` is the first file of all: its own and each above."""
    parts = key.split("/")[:-1]
    return {"/".join(parts[:count]) for count in range(len(parts) + 1)}


def left_in(root: Path, below: str = "") -> list[str]:
    return sorted(str(path.relative_to(root)) for path in (root / below).rglob("*") if not path.is_dir())


# Syncs ----------------------------------------------------------------------------------------------------------------


async def test_put_syncs_data_before_the_name_and_names_before_the_answer(driver: FilesDriver, sync: Recorded) -> None:
    await driver.put([Small(BLOB, b"x"), LINKS[0]])
    files = [line for line in sync.done if line.startswith("file _cargohold/tmp/")]
    assert len(files) == 2 and sync.visible == [False, False]
    assert sync.folders_done == above(BLOB) | above(LINKS[0].key)


async def test_folders_that_are_known_to_be_durable_are_not_synced_again(driver: FilesDriver, sync: Recorded) -> None:
    await driver.put([Small(BLOB, b"x")])
    sync.done.clear()
    other = BLOB.replace("0000/data", "0001/data")
    await driver.put([Small(other, b"y")])
    assert sync.folders_done == {os.path.dirname(other), os.path.dirname(os.path.dirname(other))}, "the new folder and where its name is"


async def test_links_are_left_to_the_barrier_on_the_level_journal(root: Path) -> None:
    sync = Recorded(root, "journal")
    driver = FilesDriver(str(root), sync)
    await driver.put([Small(BLOB, b"x"), LINKS[0]])
    assert len([line for line in sync.done if line.startswith("file")]) == 1, "the data; the link is in the database, too"
    assert sync.folders_done == above(BLOB)
    assert (root / LINKS[0].key).read_bytes() == LINKS[0].data
    await driver.delete([LINKS[0].key])
    assert sync.folders_done == above(BLOB)
    sync.done.clear()
    await driver.barrier()
    assert sync.done == ["everything"]
    await driver.aclose()


async def test_a_store_that_was_laid_out_syncs_no_shard_again(root: Path) -> None:
    first = Recorded(root)
    Tree(str(root), first).lay_out()
    assert f"{TREE}blobs/sha256" in first.folders_done
    sync = Recorded(root)
    driver = FilesDriver(str(root), sync)
    await driver.put([Small(BLOB, b"x")])
    assert sync.folders_done == {os.path.dirname(BLOB), os.path.dirname(os.path.dirname(BLOB))}
    await driver.aclose()


async def test_another_worker_trusts_no_folder_it_has_not_synced(driver: FilesDriver, root: Path) -> None:
    """The one that made the folder may have died before its sync."""
    await driver.put([Small(BLOB, b"x")])
    second = Recorded(root)
    worker = FilesDriver(str(root), second)
    await worker.put([Small(BLOB, b"y")])
    assert second.folders_done == above(BLOB)
    await worker.aclose()


async def test_a_long_write_and_its_links_are_synced_before_they_are_visible(driver: FilesDriver, sync: Recorded) -> None:
    await driver.write(BLOB, pieces(noise(3 << 20)), verify=agree, remember=forget, links=LINKS)
    assert sync.visible == [False] * 3
    assert sync.folders_done == above(BLOB) | above(LINKS[0].key) | above(LINKS[1].key)


async def test_settle_syncs_what_was_staged(driver: FilesDriver, sync: Recorded) -> None:
    upload = Upload(driver)
    await upload.append(noise(1000))
    assert sync.done == []
    await driver.settle(upload.id)
    assert sync.done == [f"file _cargohold/uploads/{upload.id}/data-1"]
    await upload.assemble()
    assert len([line for line in sync.done if line.startswith("file")]) == 1, "not twice"
    assert sync.folders_done == above(BLOB)


async def test_assemble_syncs_what_was_not_settled(driver: FilesDriver, sync: Recorded) -> None:
    upload = Upload(driver)
    await upload.append(noise(1000))
    await upload.assemble()
    assert sync.done[0] == f"file _cargohold/uploads/{upload.id}/data-1" and sync.visible == [False]


async def test_a_repeated_assemble_syncs_the_names_again(driver: FilesDriver, root: Path) -> None:
    """The first one may have died between its rename and its syncs."""
    upload = Upload(driver)
    await upload.fill(noise(1000))
    await upload.assemble()
    second = Recorded(root)
    worker = FilesDriver(str(root), second)
    assert (await worker.assemble(upload.id, [], 1000, BLOB, remember=forget)).size == 1000
    assert second.folders_done == above(BLOB)
    await worker.aclose()


async def test_a_delete_syncs_the_folder_that_stays(driver: FilesDriver, sync: Recorded) -> None:
    await driver.put([Small(BLOB, b"x"), *LINKS])
    sync.done.clear()
    assert await driver.delete([key for key, _ in LINKS]) == []
    assert "docker/registry/v2/repositories" in sync.folders_done
    assert not (sync.root / "docker/registry/v2/repositories/team").exists()


@pytest.mark.parametrize(("level", "files", "folders"), [("data", 1, 0), ("none", 0, 0)])
async def test_levels(root: Path, level: str, files: int, folders: int) -> None:
    sync = Recorded(root, level)
    driver = FilesDriver(str(root), sync)
    await driver.put([Small(BLOB, b"x")])
    assert len([line for line in sync.done if line.startswith("file")]) == files
    assert len([line for line in sync.done if line.startswith("folder")]) == folders
    await driver.aclose()


# Refusals of the disk -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EACCES])
async def test_a_refused_sync_leaves_nothing(driver: FilesDriver, root: Path, sync: Recorded, code: int) -> None:
    expected = StorageFull if code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else Unavailable
    sync.fault = code
    with pytest.raises(expected):
        await driver.put([Small(BLOB, b"x"), *LINKS])
    with pytest.raises(expected):
        await driver.write(BLOB, pieces(noise(3 << 20)), verify=agree, remember=forget, links=LINKS)
    assert left_in(root) == []


FULL = """
    import asyncio, resource, signal, sys
    from cargohold.errors import StorageFull
    from cargohold.storage.driver import Small
    from cargohold.storage.drivers.files import FilesDriver

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    async def chunks():
        for _ in range(40):
            yield bytes(64 << 10)

    async def remember(handle):
        pass

    async def refused(work):
        try:
            await work
        except StorageFull:
            return
        raise AssertionError("a full disk took it")

    async def main():
        driver = FilesDriver(sys.argv[1])
        await driver.put([Small("docker/small", b"fits")])
        await refused(driver.put([Small("docker/a", b"x"), Small("docker/b", bytes(200_000))]))
        await refused(driver.write("docker/c", chunks(), verify=lambda: None, remember=remember))
        await driver.stage("u", 0, 1, bytes(50_000))
        await refused(driver.stage("u", 50_000, 1, bytes(100_000)))
        await driver.settle("u")
        stat = await driver.assemble("u", [], 50_000, "docker/d", remember=remember)
        assert stat.size == 50_000, "what came before the disk was full is kept"
        print(*[entry.key async for entry in driver.list("")])

    asyncio.run(main())
"""


def test_a_full_disk_loses_nothing_and_leaves_nothing_half_written(root: Path) -> None:
    """A limit of the process stands for the disk's: the kernel refuses in the middle of a write in both cases."""
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(FULL), str(root)], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["docker/d", "docker/small"]


async def test_a_folder_that_cannot_be_written_is_named_by_the_self_test(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    driver = FilesDriver(str(tmp_path / "file"))
    first = next(iter(await driver.check()))
    assert str(tmp_path / "file") in first.fault
    with pytest.raises(Unavailable, match="file system"):
        await driver.put([Small(BLOB, b"x")])
    assert await driver.head(BLOB) is None and await driver.read(BLOB) is None
    await driver.aclose()


async def test_what_cannot_be_removed_is_told(driver: FilesDriver, root: Path) -> None:
    (root / BLOB).mkdir(parents=True)  # a folder in the place of a file: unlink refuses for every user
    await driver.put([LINKS[0]])
    assert await driver.delete([BLOB, LINKS[0].key]) == [BLOB]
    assert await driver.head(LINKS[0].key) is None


# Crash leftovers ------------------------------------------------------------------------------------------------------


async def test_sweep_removes_old_drafts_alone(driver: FilesDriver, root: Path) -> None:
    old, new = root / "_cargohold/tmp/old", root / "_cargohold/tmp/new"
    old.write_bytes(b"crashed")
    new.write_bytes(b"running")
    os.utime(old, (time.time() - 90_000,) * 2)
    assert await driver.sweep(86_400) == 1
    assert not old.exists() and new.exists()


# Trees that others wrote ----------------------------------------------------------------------------------------------


async def test_foreign_things_do_not_disturb(driver: FilesDriver, root: Path) -> None:
    await driver.put([Small(BLOB, b"x"), *LINKS])
    tags = root / "docker/registry/v2/repositories/team/app/_manifests/tags"
    (tags / ".DS_Store").write_bytes(b"foreign")
    (tags / "empty").mkdir()
    (tags / "lost+found").mkdir(mode=0)
    (tags / "dangling").symlink_to("nowhere")
    (tags / "round").symlink_to("..", target_is_directory=True)
    (tags / os.fsdecode(b"\xff\xfe")).write_bytes(b"no key")
    os.mkfifo(tags / "pipe")
    expected = sorted([key for key, _ in LINKS] + [BLOB, str((tags / ".DS_Store").relative_to(root))])
    assert await keys_below(driver, TREE) == expected
    assert [name async for name in driver.list_dirs(str(tags.relative_to(root)) + "/")] == ["latest"]


async def test_only_regular_files_are_objects(driver: FilesDriver, root: Path) -> None:
    await driver.put([Small("docker/real/data", b"real")])
    os.mkfifo(root / "docker/pipe")
    (root / "docker/link").symlink_to("/etc/passwd")
    for key in ("docker/pipe", "docker/link", "docker/real"):
        assert driver.open(key) is None
        assert await driver.read(key) is None
    assert await driver.head("docker/pipe") is None and await driver.head("docker/real") is None


async def test_folders_may_be_symlinks_also_to_another_disk(driver: FilesDriver, root: Path, tmp_path: Path) -> None:
    elsewhere = Path("/dev/shm") if os.stat("/dev/shm").st_dev != os.stat(tmp_path).st_dev else tmp_path
    target = elsewhere / f"cargohold-{os.getpid()}-{tmp_path.name}"
    target.mkdir()
    try:
        (root / "docker/registry/v2").mkdir(parents=True)
        (root / "docker/registry/v2/blobs").symlink_to(target, target_is_directory=True)
        data, upload = noise(200_000), Upload(driver)
        await upload.fill(data)
        await upload.assemble()
        assert await fetch(driver, BLOB) == data
        await driver.put([Small(BLOB, b"small")])
        assert await fetch(driver, BLOB) == b"small" and await keys_below(driver, TREE) == [BLOB]
        assert left_in(root, "_cargohold") == []
        assert await driver.delete([BLOB]) == []
    finally:
        for path in sorted(target.rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
        target.rmdir()


async def test_open_gives_a_descriptor_and_its_stat(driver: FilesDriver) -> None:
    await driver.put([Small(BLOB, b"bytes")])
    opened = driver.open(BLOB)
    assert opened is not None
    fd, stat = opened
    try:
        assert os.pread(fd, 100, 0) == b"bytes" and stat == await driver.head(BLOB)
        assert stat.mark == os.fstat(fd).st_mtime_ns
    finally:
        os.close(fd)


# Two workers, one folder ----------------------------------------------------------------------------------------------


@pytest.fixture
async def worker(root: Path, driver: FilesDriver) -> AsyncIterator[FilesDriver]:
    """A second process on the same folder, as far as the driver can tell."""
    other = FilesDriver(str(root))
    yield other
    await other.aclose()


async def test_an_upload_can_go_on_in_another_worker(driver: FilesDriver, worker: FilesDriver) -> None:
    data, upload = noise(300_000), Upload(driver)
    await upload.append(data[:100_000])
    await driver.settle(upload.id)
    upload.driver, upload.fence = worker, 2
    await upload.append(data[100_000:])
    await worker.settle(upload.id)
    upload.driver = driver
    assert await upload.staged(0, len(data)) == data
    await upload.assemble()
    assert await fetch(worker, BLOB) == data


async def test_a_worker_that_lost_its_lease_cannot_touch_its_successors_bytes(driver: FilesDriver, worker: FilesDriver) -> None:
    data, upload = noise(300_000), Upload(driver)
    await upload.append(data[:100_000])  # and the first worker falls asleep with its file open
    upload.driver, upload.fence = worker, 2
    await upload.append(data[100_000:])
    with pytest.raises(UploadUnknown):
        await driver.stage(upload.id, 100_000, 1, b"I slept too long")
    await upload.assemble()
    with pytest.raises(UploadUnknown):
        await driver.stage(upload.id, 100_000, 1, b"I still sleep")
    assert await fetch(worker, BLOB) == data, "not even when the file has become a blob"


async def test_a_lower_fence_cannot_take_an_upload_over(driver: FilesDriver, worker: FilesDriver) -> None:
    await driver.stage("u", 0, 5, b"new owner")
    with pytest.raises(UploadUnknown):
        await worker.stage("u", 0, 4, b"old owner")


async def test_pieces_without_what_comes_before_them_are_refused(driver: FilesDriver) -> None:
    with pytest.raises(UploadUnknown):
        await driver.stage("u", 1000, 1, b"no beginning")


async def test_a_delete_and_a_put_race_for_one_folder(driver: FilesDriver, worker: FilesDriver) -> None:
    """Deleting the last file takes the folder away under a put that has just seen it."""
    tag = "docker/registry/v2/repositories/a/_manifests/tags/latest/"
    current = f"{tag}current/link"
    for _ in range(60):
        await asyncio.gather(
            driver.put([Small(f"{tag}index/{number}/link", b"x") for number in range(3)]),
            worker.put([Small(current, b"x")]),
            driver.delete([current]),
            worker.delete([f"{tag}index/{number}/link" for number in range(3)]),
        )


# Bounds ---------------------------------------------------------------------------------------------------------------


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


async def test_open_uploads_hold_a_bounded_number_of_descriptors(driver: FilesDriver) -> None:
    before = open_files()
    uploads = [Upload(driver) for _ in range(400)]
    for upload in uploads:
        await upload.append(b"first half, ")
    assert open_files() - before <= 260
    for upload in uploads:
        await upload.append(b"second half")
        await driver.settle(upload.id)
    assert open_files() - before <= 4
    assert await uploads[0].staged(0, uploads[0].size) == b"first half, second half"


async def test_no_descriptor_is_left_by_readers(driver: FilesDriver) -> None:
    await driver.put([Small(BLOB, noise(1 << 20))])
    before = open_files()
    for _ in range(20):
        content = await driver.read(BLOB)
        assert content is not None
        assert await anext(content.chunks)
    del content
    for _ in range(20):
        await fetch(driver, BLOB)
        await driver.read(BLOB)  # and not even begun
    assert open_files() - before <= 1


async def test_failed_writes_leave_no_descriptor_and_no_draft(driver: FilesDriver, root: Path) -> None:
    await driver.put([Small(BLOB, b"x")])
    before = open_files()
    for _ in range(10):
        with pytest.raises(Wrong):
            await driver.write(BLOB, pieces(noise(2 << 20), then=Wrong()), verify=agree, remember=forget)
    assert open_files() == before and left_in(root, "_cargohold") == []
