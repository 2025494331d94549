"""The self test of a bucket: each right and each behaviour that the driver leans on, tried below `_cargohold/check/<random>/`.

A finding names the right that is missing. Without the right to write the registry can still serve (read-only); every other
fault means that some push, pull or clean-up will fail later. Caller: driver.py.
"""

from __future__ import annotations

import asyncio
import secrets
import urllib.request
from collections.abc import Awaitable, Callable

from cargohold.errors import CargoholdError
from cargohold.storage.driver import Finding
from cargohold.storage.drivers.s3.control import Control
from cargohold.storage.drivers.s3.faults import Refused
from cargohold.storage.drivers.s3.objects import Objects
from cargohold.storage.keys import CHECK, UPLOADS

_PART = 5 << 20
_CLOCK = 300.0
_SMALL = b"cargohold self test"


class Fault(Exception):
    """A step that was answered, but not as it should have been."""


async def examine(objects: Objects, control: Control) -> list[Finding]:
    trial = _Trial(objects, control)
    steps: list[tuple[str, str, Callable[[], Awaitable[None]]]] = [
        ("the bucket is there, and the clocks agree", "s3:ListBucket", trial.bucket),
        ("an object can be written", "s3:PutObject", trial.put),
        ("an object can be read, whole and in part", "s3:GetObject", trial.get),
        ("objects can be listed", "s3:ListBucket", trial.list),
        ("an object can be copied", "s3:PutObject and s3:GetObject", trial.copy),
        ("a large object can be built of copies", "s3:PutObject and s3:GetObject", trial.multipart),
        ("a large object can be given up", "s3:AbortMultipartUpload", trial.abort),
        ("a signed URL works at the public endpoint", "s3:GetObject", trial.signed),
        ("objects can be deleted", "s3:DeleteObject", trial.delete),
        ("versioning is off", "s3:GetBucketVersioning", trial.versioning),
        ("lifecycle rules clean what crashes leave", "s3:GetLifecycleConfiguration", trial.lifecycle),
    ]
    findings: list[Finding] = []
    for step, right, run in steps:
        findings.append(Finding(step, await _fault(run, right)))
        if findings[0].fault:
            return findings  # without the bucket the other steps would only say so again
    await trial.clean()
    return findings


async def _fault(run: Callable[[], Awaitable[None]], right: str) -> str:
    try:
        await run()
    except Fault as fault:
        return str(fault)
    except (CargoholdError, Refused, OSError) as error:
        return f"{error} It needs {right}."
    return ""


def _expect(agreed: bool, fault: str) -> None:
    if not agreed:
        raise Fault(fault)


class _Trial:
    """One run's scratch keys, and the steps in order; a step may use what an earlier one left."""

    def __init__(self, objects: Objects, control: Control) -> None:
        self._objects, self._control = objects, control
        self._scratch = f"{CHECK}{secrets.token_hex(8)}/"
        self._small, self._copied = self._scratch + "small", self._scratch + "copy"
        self._source, self._large = self._scratch + "source", self._scratch + "large"

    async def bucket(self) -> None:
        offset = await self._control.clock_offset()
        _expect(abs(offset) < _CLOCK, f"the store's clock is {offset:+.0f} s from ours; signatures will be refused")

    async def put(self) -> None:
        await self._objects.put(self._small, _SMALL)

    async def get(self) -> None:
        stat = await self._objects.head(self._small)
        _expect(stat is not None and stat.size == len(_SMALL), "HEAD does not show what was just written")
        _expect(await self._read(self._small, 0, None) == _SMALL, "GET gave other bytes than were written")
        _expect(await self._read(self._small, 3, 9) == _SMALL[3:9], "GET with Range gave other bytes than were asked for")

    async def list(self) -> None:
        found = [entry.key async for entry in self._objects.list(self._scratch, "")]
        _expect(found == [self._small], "a list does not show what was just written")

    async def copy(self) -> None:
        await self._objects.copy(self._small, self._copied)
        _expect(await self._read(self._copied, 0, None) == _SMALL, "a copy has other bytes than its source")

    async def multipart(self) -> None:
        data = secrets.token_bytes(1 << 20) * (_PART >> 20)
        await self._objects.put(self._source, data)
        upload = await self._control.create(self._large)
        etags = [
            await self._control.part_copy(self._large, upload, 1, self._source, 0, _PART),
            await self._control.part(self._large, upload, 2, b"!"),
        ]
        await self._control.complete(self._large, upload, etags)
        _expect(await self._read(self._large, 0, None) == data + b"!", "an object built of copies has other bytes than its parts")

    async def abort(self) -> None:
        key = self._scratch + "aborted"
        await self._control.abort(key, await self._control.create(key))
        _expect(await self._objects.head(key) is None, "a multipart upload that was aborted is visible")

    async def signed(self) -> None:
        url = await self._control.sign(self._small, 60)
        _expect(await asyncio.to_thread(_fetch, url) == _SMALL[:4], "a signed URL with Range gave other bytes than were asked for")

    async def delete(self) -> None:
        keys = [self._small, self._copied, self._source, self._large]
        await self._objects.delete(keys)
        left = [key for key in keys if await self._objects.head(key) is not None]
        _expect(not left, "deletes are answered with success, but the objects are still there")

    async def versioning(self) -> None:
        _expect(await self._control.versioning() != "Enabled", "versioning is on: deleted blobs go on costing space")

    async def lifecycle(self) -> None:
        rules = [rule for rule in await self._control.lifecycle() if rule.get("Status") == "Enabled"]
        wanted = []
        if not any("Expiration" in rule for rule in rules):
            wanted.append(f"expire {UPLOADS} after 7 days")
        if not any("AbortIncompleteMultipartUpload" in rule for rule in rules):
            wanted.append("abort incomplete multipart uploads after 7 days")
        _expect(not wanted, "add to the bucket: " + ", ".join(wanted))

    async def clean(self) -> None:
        try:
            await self._objects.delete([entry.key async for entry in self._objects.list(self._scratch, "")])
        except CargoholdError:
            return  # the findings say already what is wrong

    async def _read(self, key: str, start: int, end: int | None) -> bytes:
        content = await self._objects.get(key, start, end)
        if content is None:
            raise Fault("GET does not find what was just written")
        return b"".join([chunk async for chunk in content.chunks])


def _fetch(url: str) -> bytes:
    if not url.startswith(("http://", "https://")):
        raise Fault("the public endpoint is no http URL")
    request = urllib.request.Request(url, headers={"Range": "bytes=0-3"})  # noqa: S310  # the scheme was looked at above
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310  # the scheme was looked at above
        return bytes(answer.read())
