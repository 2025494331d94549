"""The crash matrix: a process is killed at each step of a push; what is left is harmless, and the sweeper's calls remove it.

dies after                       left                                   who cleans
segment put, before its row      bytes that no row names                unstage
segment row                      an upload that goes on elsewhere       unstage
Create, before its id is stored  an empty multipart upload (S3)         a lifecycle rule
id stored, copies or parts run   invisible parts, or drafts (files)     abandon, sweep
Complete, before the blob row    the object, perhaps without links      the repeated call
blob row, before the clean-up    staged bytes                           unstage
"""

from __future__ import annotations

import asyncio
import json
import secrets
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from cargohold.config.settings import S3
from cargohold.storage.driver import Driver, Segment
from cargohold.storage.drivers.files import FilesDriver
from cargohold.storage.drivers.s3.driver import S3Driver
from tests.storage.contract import fetch, forget, keys_below
from tests.storage.dying import KEY, LINK, SEGMENT, Plan, body
from tests.storage.weed import raw_client

DATA = body()


class Crash:
    """A driver after the crash, the crash itself, and what can be seen of its rests."""

    def __init__(self, driver: Driver, root: Path | None, settings: S3 | None) -> None:
        self.driver, self.root, self.settings = driver, root, settings
        self.upload = f"{secrets.token_hex(4)}-0000-4000-8000-{secrets.token_hex(6)}"
        self.rows: list[Segment] = []
        self.handles: list[str] = []

    async def at(self, step: str) -> None:
        plan = Plan(upload=self.upload, at=step, root=str(self.root or ""), s3=self.settings)
        command = [sys.executable, "-m", "tests.storage.dying", msgspec.json.encode(plan).decode()]
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[2])
        output, _ = await process.communicate()
        assert process.returncode == -signal.SIGKILL
        for line in map(json.loads, output.splitlines()):
            if "handle" in line:
                self.handles.append(line["handle"])
            else:
                self.rows.append(Segment(len(self.rows) * SEGMENT, 0, line["token"]))
        self.rows = [row._replace(length=min(SEGMENT, len(DATA) - row.offset)) for row in self.rows]

    async def resume(self, fence: int = 2) -> None:
        """What another process does with the rows: stage the rest, settle."""
        for offset in range(len(self.rows) * SEGMENT, len(DATA), SEGMENT):
            piece = DATA[offset : offset + SEGMENT]
            self.rows.append(Segment(offset, len(piece), await self.driver.stage(self.upload, offset, fence, piece)))
        await self.driver.settle(self.upload)

    async def finish(self) -> None:
        stat = await self.driver.assemble(self.upload, self.rows, len(DATA), KEY, remember=forget, links=[LINK])
        assert stat.size == len(DATA)
        assert await fetch(self.driver, KEY) == DATA and await fetch(self.driver, LINK.key) == LINK.data

    async def abandon(self) -> None:
        for handle in self.handles:
            await self.driver.abandon(handle)
        if isinstance(self.driver, FilesDriver):
            await self.driver.sweep(-1)

    async def staged(self) -> int:
        """Files or objects of the upload on its way."""
        if self.root is not None:
            folder = self.root / "_cargohold/uploads" / self.upload
            return len(list(folder.iterdir())) if folder.exists() else 0
        return len(await keys_below(self.driver, f"_cargohold/uploads/{self.upload}/"))

    def hidden(self) -> int:
        """Multipart uploads that are not complete, or drafts."""
        if self.root is not None:
            return len(list((self.root / "_cargohold/tmp").iterdir()))
        assert self.settings is not None
        listed = raw_client(self.settings).list_multipart_uploads(Bucket=self.settings.bucket, Prefix=self.settings.rootdirectory)
        return len(listed.get("Uploads", []))

    async def assert_clean(self) -> None:
        await self.abandon()
        await self.driver.unstage(self.upload)
        assert await self.staged() == 0 and self.hidden() == 0


@pytest.fixture(params=["files", "s3"])
async def crash(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Crash]:
    if request.param == "files":
        made = Crash(FilesDriver(str(tmp_path)), tmp_path, None)
    else:
        settings = msgspec.structs.replace(request.getfixturevalue("s3_settings"), segment=SEGMENT)
        made = Crash(S3Driver(settings), None, settings)
    yield made
    await made.driver.aclose()


async def test_segment_put_before_its_row(crash: Crash) -> None:
    await crash.at("segment put")
    assert len(crash.rows) == 1 and await crash.driver.head(KEY) is None
    assert await crash.staged() == (2 if crash.driver.records else 1)
    await crash.resume()
    await crash.finish()
    await crash.assert_clean()


async def test_segment_row(crash: Crash) -> None:
    await crash.at("segment row")
    assert len(crash.rows) == 2
    read = crash.driver.read_staged(crash.upload, crash.rows, 0, 2 * SEGMENT)
    assert b"".join([chunk async for chunk in read]) == DATA[: 2 * SEGMENT]
    await crash.assert_clean()
    assert await crash.driver.head(KEY) is None


async def test_create_before_its_id_is_stored(s3_settings: S3) -> None:
    driver = S3Driver(msgspec.structs.replace(s3_settings, segment=SEGMENT))
    crash = Crash(driver, None, msgspec.structs.replace(s3_settings, segment=SEGMENT))
    await crash.at("create")
    assert crash.handles == [] and crash.hidden() == 1 and await driver.head(KEY) is None
    await crash.finish()
    assert crash.hidden() == 1, "nobody knows its name: this one is for the lifecycle rule that the self test asks for"
    client = raw_client(s3_settings)
    listed = client.list_multipart_uploads(Bucket=s3_settings.bucket, Prefix=s3_settings.rootdirectory)["Uploads"][0]
    assert "Parts" not in client.list_parts(Bucket=s3_settings.bucket, Key=listed["Key"], UploadId=listed["UploadId"]), "it holds no bytes"
    client.abort_multipart_upload(Bucket=s3_settings.bucket, Key=listed["Key"], UploadId=listed["UploadId"])
    await crash.assert_clean()
    await driver.aclose()


async def test_copies_running(crash: Crash) -> None:
    await crash.at("copies")
    assert crash.hidden() >= 1 and await crash.driver.head(KEY) is None and await crash.driver.head(LINK.key) is None
    assert bool(crash.handles) == crash.driver.records
    await crash.abandon()
    assert crash.hidden() == 0
    await crash.finish()
    await crash.assert_clean()


async def test_parts_running(crash: Crash) -> None:
    await crash.at("parts")
    assert crash.hidden() == 1 and await crash.driver.head(KEY) is None and await crash.driver.head(LINK.key) is None
    await crash.assert_clean()


async def test_complete_before_the_blob_row(crash: Crash) -> None:
    await crash.at("complete")
    assert await fetch(crash.driver, KEY) == DATA
    await crash.finish()
    await crash.assert_clean()
    assert await fetch(crash.driver, KEY) == DATA


async def test_complete_before_the_blob_row_and_the_sweeper_came_first(crash: Crash) -> None:
    await crash.at("complete")
    await crash.assert_clean()
    await crash.finish()


async def test_blob_row_before_the_clean_up(crash: Crash) -> None:
    await crash.at("blob row")
    assert await fetch(crash.driver, KEY) == DATA and await fetch(crash.driver, LINK.key) == LINK.data
    await crash.assert_clean()
    assert await fetch(crash.driver, KEY) == DATA
