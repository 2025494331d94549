"""The S3 driver keeps the promises of every driver, on a real S3 server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from cargohold.config.settings import MIB, S3
from cargohold.storage.driver import Driver
from cargohold.storage.drivers.s3.driver import S3Driver
from tests.storage.contract import BoundedContract
from tests.storage.weed import raw_client


def uploads_left(settings: S3) -> list[str]:
    """Keys of multipart uploads that are neither complete nor aborted."""
    found = raw_client(settings).list_multipart_uploads(Bucket=settings.bucket, Prefix=settings.rootdirectory)
    return [upload["Key"] for upload in found.get("Uploads", [])]


class TestS3(BoundedContract):
    lingering = frozenset({"gone"})  # this server removes what became empty some seconds later; Amazon's has no folders

    @staticmethod
    def order(key: str) -> Any:
        """This server sorts folder by folder; Amazon's sorts keys as bytes, and the driver hands on what it gets."""
        return key.split("/")

    @pytest.fixture
    async def driver(self, s3_settings: S3) -> AsyncIterator[Driver]:
        driver = S3Driver(msgspec.structs.replace(s3_settings, segment=5 * MIB))
        yield driver
        await driver.aclose()
        assert uploads_left(s3_settings) == []
