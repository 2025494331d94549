"""A process that dies by SIGKILL at one step of a push, for the rows of the crash matrix: `python -m tests.storage.dying JSON`.

It prints what its caller would have had in rows by then, one JSON line each: {"token": ...} or {"handle": ...}.
Caller: test_crash.py.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from cargohold.config.settings import S3, Storage
from cargohold.storage.driver import Driver, Segment, Small
from cargohold.storage.drivers.files import FilesDriver
from cargohold.storage.drivers.files_tree import Sync
from cargohold.storage.drivers.s3.driver import S3Driver

KEY = "docker/registry/v2/blobs/sha256/ab/abcd/data"
LINK = Small("docker/registry/v2/repositories/a/_layers/sha256/abcd/link", b"sha256:abcd")
SEGMENT = 5 << 20


def body() -> bytes:
    return b"".join(bytes([number]) * SEGMENT for number in (1, 2, 3)) + b"tail"


class Plan(msgspec.Struct):
    upload: str
    at: str
    """The step after which it dies."""
    root: str = ""
    s3: S3 | None = None


def die() -> None:
    sys.stdout.flush()
    os.kill(os.getpid(), signal.SIGKILL)


def tell(**row: object) -> None:
    sys.stdout.write(json.dumps(row) + "\n")
    sys.stdout.flush()


class DyingSync(Sync):
    """Dies at the first folder sync (the object has its name, the name is not durable), or before a file's."""

    at = ""

    def file(self, fd: int) -> None:
        if self.at == "before the name":
            die()
        super().file(fd)

    def folder(self, path: str) -> None:
        if self.at == "complete":
            die()
        super().folder(path)


def driver_of(plan: Plan) -> Driver:
    if plan.s3 is None:
        return FilesDriver(Storage(rootdirectory=plan.root).rootdirectory, DyingSync())
    return S3Driver(plan.s3)


def die_in(driver: Driver, name: str, calls: int) -> None:
    """After that many calls of a control method of the S3 driver have come back."""
    if not isinstance(driver, S3Driver):
        return
    method, done = getattr(driver.control, name), 0

    async def dying(*args: Any) -> Any:
        nonlocal done
        answer = await method(*args)
        done += 1
        if done == calls:
            die()
        return answer

    setattr(driver.control, name, dying)


async def chunks() -> AsyncIterator[bytes]:
    data = body()
    for at in range(0, len(data), 1 << 20):
        yield data[at : at + (1 << 20)]


async def main(plan: Plan) -> None:
    driver = driver_of(plan)

    async def remember(handle: str) -> None:
        if plan.at == "create":
            die()
        tell(handle=handle)

    if plan.at in ("create", "copies", "complete"):
        die_in(driver, "part_copy" if plan.at == "copies" else "complete", 2 if plan.at == "copies" else 1)
    if plan.at == "parts":
        die_in(driver, "part", 2)
        await driver.write(KEY, cut(chunks()), verify=lambda: None, remember=remember, links=[LINK])
    segments: list[Segment] = []
    data = body()
    for offset in range(0, len(data), SEGMENT):
        piece = data[offset : offset + SEGMENT]
        token = await driver.stage(plan.upload, offset, 1, piece)
        if plan.at == "segment put" and offset:
            die()
        tell(token=token)
        segments.append(Segment(offset, len(piece), token))
        if plan.at == "segment row" and offset:
            die()
    await driver.settle(plan.upload)
    if isinstance(driver, FilesDriver):
        assert isinstance(driver.sync, DyingSync)
        driver.sync.at = {"copies": "before the name"}.get(plan.at, plan.at)
    await driver.assemble(plan.upload, segments, len(data), KEY, remember=remember, links=[LINK])
    if plan.at == "blob row":
        die()


async def cut(source: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The body stops coming in its last segment; the files driver dies there, the S3 driver in its second part."""
    seen = 0
    async for chunk in source:
        yield chunk
        seen += len(chunk)
        if seen >= 3 * SEGMENT:
            await asyncio.sleep(1.0)
            die()


if __name__ == "__main__":
    asyncio.run(main(msgspec.json.decode(sys.argv[1], type=Plan)))
