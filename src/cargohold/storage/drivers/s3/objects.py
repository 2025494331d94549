"""Bytes of the S3 driver by obstore: whole objects in and out, lists, copies, deletes.

Keys go in and come out without the bucket's prefix. A missing object is None or success; every other refusal leaves as
StorageFull or Unavailable. obstore tries 5xx, 408, 429 and lost connections again by itself; what it takes for final though
it may pass (400 RequestTimeout, 409 OperationAborted, an expired token) is tried again here.

This file owns obstore. A store must be made after the last fork, and before the process exits the loop has to be closed and
the process idle for 0.2 s: the library's own threads may abort the process otherwise. Caller: driver.py.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from cargohold.storage.driver import OCTETS, Content, Entry, Stat
from cargohold.storage.drivers.s3.access import Access
from cargohold.storage.drivers.s3.control import Credentials
from cargohold.storage.drivers.s3.faults import PATIENCE, TRIES, Breaker, Refused, persevere
from cargohold.storage.drivers.uninterrupted import uninterrupted

T = TypeVar("T")

_CHUNK = 256 << 10
_PAGE = 1000
_STATUS = re.compile(r"status(?: code)?:? (\d{3})")
_CODE = re.compile(r"<Code>(\w+)</Code>")
_LEFT_TO_US = frozenset({"RequestTimeout", "OperationAborted", "ExpiredToken"})


class Objects:
    def __init__(self, access: Access, provide: Callable[[], Awaitable[Credentials]], breaker: Breaker) -> None:
        self._access, self._provide, self._breaker = access, provide, breaker
        self._store = self._make_store()

    def _make_store(self) -> S3Store:
        client: dict[str, Any] = {
            "allow_http": self._access.plain,
            "allow_invalid_certificates": not self._access.verify,
            "connect_timeout": timedelta(seconds=5),
            "read_timeout": timedelta(seconds=30),
            "timeout": timedelta(hours=24),  # it covers the whole body, so it must not be what cuts a slow download
        }
        if self._access.ca_bundle:
            client["root_certificate"] = Path(self._access.ca_bundle).read_bytes()
        config: dict[str, Any] = {"region": self._access.region}
        if self._access.endpoint:
            config["endpoint"] = self._access.endpoint
        backoff = {"init_backoff": timedelta(seconds=0.2), "max_backoff": timedelta(seconds=5), "base": 2}
        retry: dict[str, Any] = {"max_retries": TRIES - 1, "retry_timeout": timedelta(seconds=PATIENCE), "backoff": backoff}
        provider: Any = self._provide
        return S3Store(self._access.bucket, config=config, client_options=client, retry_config=retry, credential_provider=provider)  # type: ignore[arg-type]  # plain dicts for its TypedDicts, which exist in stubs only

    def _path(self, key: str) -> str:
        return self._access.prefix + key

    async def _ask(self, operation: str, key: str, work: Callable[[], Awaitable[T]], *, may_miss: bool = True) -> T:
        async def once() -> T:
            try:
                return await work()
            except (BaseError, OSError) as error:
                refused = refused_of(error)
                if refused.code == "ExpiredToken":
                    self._store = self._make_store()
                raise refused from error

        return await persevere(once, operation, key, self._breaker, may_miss=may_miss, again=lambda refused: refused.code in _LEFT_TO_US)

    async def put(self, key: str, data: bytes | bytearray | memoryview) -> None:
        """One request, whatever the size; cancelled callers wait for its end, so that none can land later."""

        async def work() -> None:
            await obstore.put_async(self._store, self._path(key), data, attributes={"Content-Type": OCTETS}, use_multipart=False)

        await uninterrupted(self._ask("PutObject", key, work, may_miss=False))

    async def head(self, key: str) -> Stat | None:
        async def work() -> Stat:
            found = await obstore.head_async(self._store, self._path(key))
            return Stat(found["size"], 0)

        try:
            return await self._ask("HeadObject", key, work)
        except Refused:
            return None

    async def get(self, key: str, start: int, end: int | None) -> Content | None:
        if end is not None and start >= end:
            stat = await self.head(key)
            return Content(stat, _nothing()) if stat else None

        async def work() -> Any:
            span: Any = {"offset": start} if end is None else (start, end)
            options: Any = {"range": span} if start or end is not None else {}
            return await obstore.get_async(self._store, self._path(key), options=options)

        try:
            found = await self._ask("GetObject", key, work)
        except Refused:
            return None
        return Content(Stat(found.meta["size"], 0), self._stream(key, found))

    async def _stream(self, key: str, found: Any) -> AsyncIterator[bytes]:
        try:
            async for chunk in found.stream(min_chunk_size=_CHUNK):
                yield bytes(chunk)
        except (BaseError, OSError) as error:
            raise refused_of(error).told("GetObject", key) from error

    async def copy(self, source: str, target: str) -> None:
        """Server side, up to 5 GiB. Raises Refused when `source` is missing."""

        async def work() -> None:
            await obstore.copy_async(self._store, self._path(source), self._path(target))

        await uninterrupted(self._ask("CopyObject", target, work))

    async def delete(self, keys: Sequence[str]) -> None:
        async def work() -> None:
            await obstore.delete_async(self._store, [self._path(key) for key in keys])

        if keys:
            try:
                await uninterrupted(self._ask("DeleteObjects", keys[0], work))
            except Refused:
                return

    async def list(self, prefix: str, after: str) -> AsyncIterator[Entry]:
        cut = len(self._access.prefix)
        try:
            pages = obstore.list(self._store, self._path(prefix) or None, offset=self._path(after) if after else None, chunk_size=_PAGE)
            async for page in pages:
                for found in page:
                    yield Entry(found["path"][cut:], found["size"])
        except (BaseError, OSError) as error:
            raise refused_of(error).told("ListObjectsV2", prefix) from error

    async def dirs(self, prefix: str) -> Sequence[str]:
        async def work() -> Sequence[str]:
            found = await obstore.list_with_delimiter_async(self._store, self._path(prefix))
            return [path.rstrip("/").rpartition("/")[2] for path in found["common_prefixes"]]

        return await self._ask("ListObjectsV2", prefix, work, may_miss=False)


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield b""  # an iterator needs one


def refused_of(error: Exception) -> Refused:
    """obstore's classes carry neither status nor code; its text holds both."""
    text = str(error)
    status, code = _STATUS.search(text), _CODE.search(text)
    found = int(status[1]) if status else 404 if isinstance(error, FileNotFoundError) else 0
    return Refused(found, code[1] if code else "", text)
