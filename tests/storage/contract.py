"""What every driver promises: one test for each promise of storage/driver.py. Subclass it and provide `driver`.

    class TestMemory(DriverContract):
        @pytest.fixture
        def driver(self) -> Driver: ...

`segment` is what the driver asks for; tests that need several segments take it from there.
"""

from __future__ import annotations

import asyncio
import hashlib
import resource
import secrets
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import pytest

from cargohold.errors import UploadUnknown
from cargohold.storage.driver import Driver, LocalFiles, Segment, Small

HEX = "ab" + "0" * 62
BLOB = f"docker/registry/v2/blobs/sha256/ab/{HEX}/data"
LINKS = [
    Small(f"docker/registry/v2/repositories/team/app/_layers/sha256/{HEX}/link", b"sha256:" + HEX.encode()),
    Small("docker/registry/v2/repositories/team/app/_manifests/tags/latest/current/link", b"sha256:" + HEX.encode()),
]


class Wrong(Exception):
    """What `verify` of a test raises."""


def agree() -> None:
    """A `verify` that is content."""


def refuse() -> None:
    raise Wrong


async def forget(handle: str) -> None:
    """A `remember` for tests that do not crash."""


def noise(size: int) -> bytes:
    """Bytes that differ at every offset, cheaply."""
    block = secrets.token_bytes(min(size, 1 << 20))
    return (block * (size // len(block) + 1))[:size] if size else b""


async def pieces(data: bytes, step: int = 64 << 10, then: BaseException | None = None) -> AsyncIterator[bytes]:
    for at in range(0, len(data), step):
        yield data[at : at + step]
    if then is not None:
        raise then


async def fetch(driver: Driver, key: str, start: int = 0, end: int | None = None) -> bytes | None:
    content = await driver.read(key, start, end)
    return None if content is None else b"".join([chunk async for chunk in content.chunks])


async def keys_below(driver: Driver, prefix: str, after: str = "") -> list[str]:
    return [entry.key async for entry in driver.list(prefix, after)]


class Upload:
    """An upload as its caller keeps it: the segments in rows, each under a fence."""

    def __init__(self, driver: Driver, fence: int = 1) -> None:
        self.driver, self.fence = driver, fence
        self.id = f"{secrets.token_hex(4)}-0000-4000-8000-{secrets.token_hex(6)}"
        self.rows: list[Segment] = []
        self.handles: list[str] = []

    @property
    def size(self) -> int:
        return self.rows[-1].offset + self.rows[-1].length if self.rows else 0

    async def append(self, data: bytes, at: int | None = None) -> None:
        offset = self.size if at is None else at
        token = await self.driver.stage(self.id, offset, self.fence, data)
        self.rows = [row for row in self.rows if row.offset < offset] + [Segment(offset, len(data), token)]

    async def fill(self, data: bytes) -> None:
        for at in range(0, len(data), self.driver.segment):
            await self.append(data[at : at + self.driver.segment])
        await self.driver.settle(self.id)

    async def remember(self, handle: str) -> None:
        self.handles.append(handle)

    async def assemble(self, key: str = BLOB, links: Iterable[Small] = ()) -> int:
        stat = await self.driver.assemble(self.id, self.rows, self.size, key, remember=self.remember, links=list(links))
        return stat.size

    async def staged(self, start: int, end: int) -> bytes:
        return b"".join([chunk async for chunk in self.driver.read_staged(self.id, self.rows, start, end)])


class DriverContract:
    lingering: frozenset[str] = frozenset()
    """Names that a list may show although nothing is below them any more."""

    @staticmethod
    def order(key: str) -> Any:
        """What lists are sorted by: the key itself (so `a-b/` comes before `a/`)."""
        return key

    # Small objects --------------------------------------------------------------------------------------------------

    async def test_what_was_put_is_read(self, driver: Driver) -> None:
        await driver.put([Small(BLOB, b"manifest"), *LINKS])
        assert await fetch(driver, BLOB) == b"manifest"
        for key, data in LINKS:
            assert await fetch(driver, key) == data

    async def test_put_replaces(self, driver: Driver) -> None:
        await driver.put([Small(BLOB, b"first, and longer")])
        await driver.put([Small(BLOB, b"second")])
        assert await fetch(driver, BLOB) == b"second"
        stat = await driver.head(BLOB)
        assert stat is not None and stat.size == 6

    async def test_an_empty_object_is_an_object(self, driver: Driver) -> None:
        await driver.put([Small(BLOB, b"")])
        assert await fetch(driver, BLOB) == b""
        stat = await driver.head(BLOB)
        assert stat is not None and stat.size == 0

    async def test_a_missing_key_is_none(self, driver: Driver) -> None:
        assert await driver.head(BLOB) is None
        assert await driver.read(BLOB) is None
        assert await driver.read(BLOB, 2, 2) is None
        await driver.put([Small(BLOB, b"x")])
        assert await driver.head(BLOB + "/below-a-file") is None
        assert await driver.head(BLOB.removesuffix("/data")) is None, "a folder is no object"

    async def test_many_puts_at_once_into_one_folder(self, driver: Driver) -> None:
        tags = [f"docker/registry/v2/repositories/a/_manifests/tags/t{number}/current/link" for number in range(40)]
        await asyncio.gather(*(driver.put([Small(key, key.encode())]) for key in tags))
        for key in tags:
            assert await fetch(driver, key) == key.encode()

    # Ranges ---------------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize(("start", "end"), [(0, None), (0, 1), (7, None), (3, 9), (699_999, 700_000), (5, 400_000), (8, 8)])
    async def test_a_read_gives_the_asked_bytes_and_the_whole_size(self, driver: Driver, start: int, end: int | None) -> None:
        data = noise(700_000)
        await driver.put([Small(BLOB, data)])
        content = await driver.read(BLOB, start, end)
        assert content is not None and content.stat.size == len(data)
        assert b"".join([chunk async for chunk in content.chunks]) == data[start:end]

    async def test_a_read_can_be_left_in_the_middle(self, driver: Driver) -> None:
        await driver.put([Small(BLOB, noise(3 << 20))])
        content = await driver.read(BLOB)
        assert content is not None
        assert await anext(content.chunks)
        await content.chunks.aclose()  # type: ignore[attr-defined]  # closing ends the transfer: the protocol's words
        with pytest.raises(StopAsyncIteration):
            await anext(content.chunks)

    async def test_a_reader_keeps_its_bytes_when_the_object_is_deleted(self, driver: Driver) -> None:
        data = noise(1 << 20)
        await driver.put([Small(BLOB, data)])
        content = await driver.read(BLOB)
        assert content is not None
        got = await anext(content.chunks)
        await driver.put([Small(BLOB, b"other")])
        assert data.startswith(got)

    # Long objects ---------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("size", [0, 1, 64 << 10, (64 << 10) + 1, (3 << 20) + 17])
    async def test_write_stores_what_was_verified(self, driver: Driver, size: int) -> None:
        data, seen = noise(size), hashlib.sha256()

        async def chunks() -> AsyncIterator[bytes]:
            async for chunk in pieces(data):
                seen.update(chunk)
                yield chunk

        def verify() -> None:
            assert seen.digest() == hashlib.sha256(data).digest(), "verify comes after the last byte"

        stat = await driver.write(BLOB, chunks(), verify=verify, remember=forget, links=LINKS)
        assert stat.size == size and await driver.head(BLOB) == stat
        assert await fetch(driver, BLOB) == data
        assert await fetch(driver, LINKS[0].key) == LINKS[0].data

    async def test_write_of_several_segments(self, driver: Driver) -> None:
        data = noise(2 * driver.segment + 12_345)
        stat = await driver.write(BLOB, pieces(data, 1 << 20), verify=agree, remember=forget, links=LINKS)
        assert stat.size == len(data)
        assert await digest_of(driver, BLOB) == hashlib.sha256(data).hexdigest()
        assert await fetch(driver, LINKS[1].key) == LINKS[1].data

    @pytest.mark.parametrize("segments", [0, 1, 2])
    async def test_a_refused_write_leaves_nothing(self, driver: Driver, segments: int) -> None:
        data = noise(segments * driver.segment + 100)
        with pytest.raises(Wrong):
            await driver.write(BLOB, pieces(data, 1 << 20), verify=refuse, remember=forget, links=LINKS)
        await self.assert_empty(driver)

    @pytest.mark.parametrize("segments", [0, 1, 2])
    async def test_a_body_that_breaks_leaves_nothing(self, driver: Driver, segments: int) -> None:
        data = noise(segments * driver.segment + 100)
        with pytest.raises(Wrong):
            await driver.write(BLOB, pieces(data, 1 << 20, then=Wrong()), verify=agree, remember=forget, links=LINKS)
        await self.assert_empty(driver)

    @pytest.mark.parametrize("segments", [0, 2])
    async def test_a_cancelled_write_leaves_nothing(self, driver: Driver, segments: int) -> None:
        stuck = asyncio.Event()

        async def chunks() -> AsyncIterator[bytes]:
            async for chunk in pieces(noise(segments * driver.segment + 100), 1 << 20):
                yield chunk
            stuck.set()
            await asyncio.Event().wait()

        task = asyncio.create_task(driver.write(BLOB, chunks(), verify=agree, remember=forget, links=LINKS))
        await stuck.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await self.assert_empty(driver)

    async def test_a_refused_write_spares_what_was_there(self, driver: Driver) -> None:
        await driver.put([Small(BLOB, b"good")])
        with pytest.raises(Wrong):
            await driver.write(BLOB, pieces(noise(driver.segment + 5), 1 << 20), verify=refuse, remember=forget)
        assert await fetch(driver, BLOB) == b"good"

    async def test_uncommitted_bytes_are_invisible(self, driver: Driver) -> None:
        seen: list[object] = []

        async def chunks() -> AsyncIterator[bytes]:
            for _ in range(3):
                yield noise(driver.segment)
                seen.append(await driver.head(BLOB))
                seen.append(await driver.head(LINKS[0].key))

        await driver.write(BLOB, chunks(), verify=agree, remember=forget, links=LINKS)
        assert seen == [None] * 6

    # Uploads --------------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize(("whole", "rest"), [(0, 1), (1, 0), (1, 77), (2, 1), (5, 300_000)])
    async def test_an_upload_becomes_an_object(self, driver: Driver, whole: int, rest: int) -> None:
        data = noise(whole * driver.segment + rest)
        upload = Upload(driver)
        await upload.fill(data)
        assert await driver.head(BLOB) is None
        assert await upload.assemble(links=LINKS) == len(data)
        assert await digest_of(driver, BLOB) == hashlib.sha256(data).hexdigest()
        for key, link in LINKS:
            assert await fetch(driver, key) == link

    async def test_an_empty_upload_becomes_an_empty_object(self, driver: Driver) -> None:
        assert await Upload(driver).assemble(links=LINKS) == 0
        assert await fetch(driver, BLOB) == b""

    async def test_staged_bytes_can_be_read_back(self, driver: Driver) -> None:
        data = noise(2 * driver.segment + 1000)
        upload = Upload(driver)
        await upload.fill(data)
        edge = driver.segment
        for start, end in [(0, len(data)), (0, 1), (edge - 3, edge + 3), (edge, edge), (2 * edge + 1, len(data))]:
            assert await upload.staged(start, end) == data[start:end]

    async def test_a_tail_can_be_replaced(self, driver: Driver) -> None:
        upload = Upload(driver, fence=1)
        data = noise(driver.segment + 2000)
        await upload.fill(data[: driver.segment + 1000])
        upload.fence = 2
        await upload.append(data[driver.segment :], at=driver.segment)
        await driver.settle(upload.id)
        assert await upload.staged(0, len(data)) == data
        await upload.assemble()
        assert await fetch(driver, BLOB) == data

    async def test_bytes_beyond_the_rows_are_no_part_of_the_object(self, driver: Driver) -> None:
        upload = Upload(driver)
        data = noise(driver.segment + 500)
        await upload.fill(data)
        await driver.stage(upload.id, upload.size, upload.fence, b"never acknowledged")
        await upload.assemble()
        assert await fetch(driver, BLOB) == data

    async def test_a_writer_of_an_older_fence_changes_nothing(self, driver: Driver) -> None:
        upload = Upload(driver, fence=2)
        data = noise(driver.segment + 500)
        await upload.fill(data)
        try:
            await driver.stage(upload.id, 0, 1, b"I slept too long")
        except UploadUnknown:
            assert not driver.records, "where rows decide, a late segment is only an object that nobody names"
        await upload.assemble()
        assert await fetch(driver, BLOB) == data

    async def test_an_assemble_can_be_repeated(self, driver: Driver) -> None:
        for whole in (0, 2):
            key = f"{BLOB}-{whole}"
            data = noise(whole * driver.segment + 333)
            upload = Upload(driver)
            await upload.fill(data)
            await upload.assemble(key)
            assert await upload.assemble(key, LINKS) == len(data)
            await driver.unstage(upload.id)
            assert await upload.assemble(key, LINKS) == len(data)
            assert await fetch(driver, key) == data and await fetch(driver, LINKS[0].key) == LINKS[0].data

    async def test_an_assemble_without_its_bytes_is_an_unknown_upload(self, driver: Driver) -> None:
        for whole in (0, 2):
            upload = Upload(driver)
            await upload.fill(noise(whole * driver.segment + 333))
            await driver.unstage(upload.id)
            await driver.put([Small(BLOB, b"of another size")])
            with pytest.raises(UploadUnknown):
                await upload.assemble(links=LINKS)
            assert await fetch(driver, BLOB) == b"of another size" and await driver.head(LINKS[0].key) is None

    async def test_an_assemble_replaces_a_corrupt_object(self, driver: Driver) -> None:
        data = noise(2 * driver.segment)
        await driver.put([Small(BLOB, bytes(len(data)))])
        upload = Upload(driver)
        await upload.fill(data)
        await upload.assemble()
        assert await fetch(driver, BLOB) == data

    async def test_unstage_drops_all_of_one_upload_and_may_be_repeated(self, driver: Driver) -> None:
        upload, other = Upload(driver), Upload(driver)
        await upload.fill(noise(2 * driver.segment))
        await driver.stage(upload.id, 2 * driver.segment, 1, b"a segment that no row knows")
        await other.fill(b"other")
        for _ in range(2):
            await driver.unstage(upload.id)
        with pytest.raises(UploadUnknown):
            await upload.staged(0, 10)
        assert await other.staged(0, 5) == b"other"
        assert await keys_below(driver, f"_cargohold/uploads/{upload.id}/") == []

    async def test_a_handle_can_be_abandoned_at_any_time(self, driver: Driver) -> None:
        """Also when the call it came from has ended long ago: then the object stays."""
        upload = Upload(driver)
        data = noise(2 * driver.segment)
        await upload.fill(data)
        await upload.assemble()
        assert bool(upload.handles) == driver.records
        for handle in upload.handles:
            await driver.abandon(handle)
            await driver.abandon(handle)
        assert await fetch(driver, BLOB) == data

    async def test_uploads_at_once_do_not_mix(self, driver: Driver) -> None:
        async def push(number: int) -> bool:
            data, upload = noise(50_000 + number), Upload(driver)
            for at in range(0, len(data), 10_000):
                await upload.append(data[at : at + 10_000])
            await driver.settle(upload.id)
            await upload.assemble(f"{BLOB}-{number}")
            return await fetch(driver, f"{BLOB}-{number}") == data

        assert all(await asyncio.gather(*(push(number) for number in range(8))))

    # Copy, delete, lists --------------------------------------------------------------------------------------------

    async def test_copy(self, driver: Driver) -> None:
        data = noise(300_000)
        await driver.put([Small(BLOB, data)])
        await driver.copy(BLOB, BLOB + "-2")
        assert await fetch(driver, BLOB + "-2") == data and await fetch(driver, BLOB) == data

    async def test_delete_is_idempotent(self, driver: Driver) -> None:
        await driver.put([Small(BLOB, b"x"), *LINKS])
        assert await driver.delete([BLOB, LINKS[0].key, "docker/registry/v2/blobs/never/there"]) == []
        assert await driver.head(BLOB) is None and await driver.head(LINKS[0].key) is None
        assert await driver.head(LINKS[1].key) is not None
        assert await driver.delete([BLOB]) == [] and await driver.delete([]) == []

    async def test_a_deleted_key_can_be_written_again(self, driver: Driver) -> None:
        for data in (b"one", b"two"):
            await driver.put([Small(BLOB, data), *LINKS])
            assert await fetch(driver, BLOB) == data
            assert await driver.delete([BLOB, *(key for key, _ in LINKS)]) == []

    async def test_a_list_is_in_key_order(self, driver: Driver) -> None:
        names = ["a/link", "a-b/link", "a.b/link", "a/b/link", "a0/link", "b", "c/d/e/f/link", "a_b/link"]
        await driver.put([Small(f"docker/x/{name}", name.encode()) for name in names])
        await driver.put([Small("docker/x-not/link", b""), Small("docker/w/link", b"")])
        expected = sorted((f"docker/x/{name}" for name in names), key=self.order)
        assert await keys_below(driver, "docker/x/") == expected
        assert [entry.size async for entry in driver.list("docker/x/")] == [len(key) - len("docker/x/") for key in expected]
        for at, key in enumerate(expected):
            assert await keys_below(driver, "docker/x/", key) == expected[at + 1 :]
        assert "docker/x/a/b/link" in await keys_below(driver, "docker/x/", "docker/x/a/aaa")
        assert await keys_below(driver, "docker/nothing/") == []

    async def test_a_list_of_more_than_a_page(self, driver: Driver) -> None:
        names = [f"docker/many/{number:04d}/link" for number in range(1203)]
        shares = [names[at : at + 80] for at in range(0, len(names), 80)]
        await asyncio.gather(*(driver.put([Small(name, b"") for name in share]) for share in shares))
        assert await keys_below(driver, "docker/many/") == names
        assert len([name async for name in driver.list_dirs("docker/many/")]) == len(names)
        assert await driver.delete(names) == []
        assert await keys_below(driver, "docker/many/") == []

    async def test_list_dirs_names_what_has_something_below(self, driver: Driver) -> None:
        await driver.put([Small(f"docker/t/{name}/current/link", b"x") for name in ("latest", "1.0", "1.0-rc", "gone")])
        await driver.put([Small("docker/t/file", b"x")])
        await driver.delete(["docker/t/gone/current/link"])
        names = [name async for name in driver.list_dirs("docker/t/") if name not in self.lingering]
        assert names == sorted(["1.0", "1.0-rc", "latest"], key=lambda name: self.order(name + "/"))
        assert [name async for name in driver.list_dirs("docker/nothing/")] == []

    # House ----------------------------------------------------------------------------------------------------------

    async def test_the_self_test_leaves_nothing(self, driver: Driver) -> None:
        findings = await driver.check()
        assert findings and all(finding.step for finding in findings)
        await self.assert_empty(driver)

    async def assert_empty(self, driver: Driver) -> None:
        """No object, no draft, no upload on its way."""
        assert await keys_below(driver, "") == []
        if isinstance(driver, LocalFiles):
            assert driver.open(BLOB) is None


class BoundedContract(DriverContract):
    """For drivers that keep bytes elsewhere: a large object passes through a small process."""

    async def test_a_large_object_takes_little_memory(self, driver: Driver) -> None:
        size, before, most = 128 << 20, resident(), 0
        block = noise(1 << 20)

        async def chunks() -> AsyncIterator[bytes]:
            nonlocal most
            for _ in range(0, size, len(block)):
                yield block
                most = max(most, resident())

        await driver.write(BLOB, chunks(), verify=agree, remember=forget)
        upload, segment = Upload(driver), noise(driver.segment)
        for at in range(0, size, driver.segment):
            await upload.append(segment[: size - at])
            most = max(most, resident())
        await driver.settle(upload.id)
        await upload.assemble(BLOB + "-2")
        for key in (BLOB, BLOB + "-2"):
            content = await driver.read(key)
            assert content is not None and content.stat.size == size
            async for _ in content.chunks:
                most = max(most, resident())
        assert most - before < 48 << 20


def resident() -> int:
    """Bytes of memory that this process has now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


async def digest_of(driver: Driver, key: str) -> str:
    content = await driver.read(key)
    assert content is not None
    seen = hashlib.sha256()
    async for chunk in content.chunks:
        seen.update(chunk)
    return seen.hexdigest()
