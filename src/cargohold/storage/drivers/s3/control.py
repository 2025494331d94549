"""Control calls of the S3 driver by boto3, in a bounded pool of threads: multipart uploads, their copies, signing.

    create --> part | part_copy (any order, repeatable) --> complete --> (object)
      `-------------------------------------------------`--> abort --> (gone)

obstore cannot name a multipart upload, so it cannot take one up in another process or undo a dead one; these few calls can.
Credentials come from boto3's chain; `credentials()` hands them to obstore too.

This file owns boto3 and botocore. Caller: driver.py, check.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, TypedDict, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from cargohold.config.settings import S3
from cargohold.storage.driver import OCTETS
from cargohold.storage.drivers.s3.access import Access
from cargohold.storage.drivers.s3.faults import Breaker, Refused, persevere
from cargohold.storage.drivers.uninterrupted import uninterrupted

T = TypeVar("T")

_THREADS = 32
_CONNECT, _READ = 5.0, 30.0
_FRESH = timedelta(minutes=10)


class Credentials(TypedDict):
    """As obstore wants them; `expires_at` None: they do not end."""

    access_key_id: str
    secret_access_key: str
    token: str | None
    expires_at: datetime | None


class Control:
    def __init__(self, settings: S3, access: Access, breaker: Breaker) -> None:
        self._access, self._breaker = access, breaker
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="s3")
        self._session = boto3.session.Session(
            aws_access_key_id=settings.accesskey or None,
            aws_secret_access_key=settings.secretkey or None,
            region_name=settings.region,
        )
        self._client = self._make_client(access.endpoint)
        self._public = self._client if access.public == access.endpoint else self._make_client(access.public)

    def _make_client(self, endpoint: str | None) -> Any:
        config = Config(
            connect_timeout=_CONNECT,
            read_timeout=_READ,
            retries={"total_max_attempts": 1},  # faults.persevere tries again, for both libraries by one rule
            max_pool_connections=_THREADS,
            signature_version="s3v4",
            request_checksum_calculation="when_required",  # look-alikes refuse the newer checksums
            response_checksum_validation="when_required",
            s3={"addressing_style": "path" if endpoint else "auto"},
        )
        verify: bool | str | None = (self._access.ca_bundle or None) if self._access.verify else False
        return self._session.client("s3", endpoint_url=endpoint, config=config, verify=verify)

    def _named(self, key: str) -> dict[str, str]:
        return {"Bucket": self._access.bucket, "Key": self._access.prefix + key}

    async def _run(self, work: Callable[[], T]) -> T:
        return await uninterrupted(asyncio.get_running_loop().run_in_executor(self._threads, work))

    async def _ask(self, operation: str, key: str, work: Callable[[], T], *, may_miss: bool = False) -> T:
        def once() -> T:
            try:
                return work()
            except ClientError as error:
                raise _refused(error) from error
            except BotoCoreError as error:
                raise Refused(0, "", str(error)) from error

        return await persevere(lambda: self._run(once), operation, key, self._breaker, may_miss=may_miss)

    async def create(self, key: str) -> str:
        """The id of a new multipart upload under `key`."""
        made = await self._ask(
            "CreateMultipartUpload", key, lambda: self._client.create_multipart_upload(**self._named(key), ContentType=OCTETS)
        )
        return str(made["UploadId"])

    async def part(self, key: str, upload: str, number: int, data: bytes | bytearray) -> str:
        """The ETag of part `number` (from 1), at least 5 MiB unless it is the last."""

        def send() -> Any:
            return self._client.upload_part(**self._named(key), UploadId=upload, PartNumber=number, Body=_Body(data))

        made = await self._ask("UploadPart", key, send)
        return str(made["ETag"])

    async def part_copy(self, key: str, upload: str, number: int, source: str, start: int, end: int) -> str:
        """Makes part `number` of bytes `start` up to `end` of the object `source`, inside the store; its ETag."""

        def copy() -> str:
            made = self._client.upload_part_copy(
                **self._named(key),
                UploadId=upload,
                PartNumber=number,
                CopySource=self._named(source),
                CopySourceRange=f"bytes={start}-{end - 1}",
            )
            return _etag(made.get("CopyPartResult", {}))

        return await self._ask("UploadPartCopy", key, copy, may_miss=True)

    async def complete(self, key: str, upload: str, etags: Sequence[str]) -> None:
        """Makes the object of parts 1 to len(etags). Raises Refused (missing) when there is no such upload (any more)."""
        parts = [{"PartNumber": number, "ETag": etag} for number, etag in enumerate(etags, 1)]
        await self._ask(
            "CompleteMultipartUpload",
            key,
            lambda: _etag(self._client.complete_multipart_upload(**self._named(key), UploadId=upload, MultipartUpload={"Parts": parts})),
            may_miss=True,
        )

    async def abort(self, key: str, upload: str) -> None:
        """Undoes a multipart upload; one that is gone, or was completed, is success."""
        try:
            await self._ask(
                "AbortMultipartUpload", key, lambda: self._client.abort_multipart_upload(**self._named(key), UploadId=upload), may_miss=True
            )
        except Refused:
            return

    async def sign(self, key: str, ttl: float) -> str:
        """A URL at the public endpoint that answers GET for `ttl` seconds, or less where the credentials end before."""

        def make() -> str:
            ends = self.credentials()["expires_at"]
            seconds = min(ttl, (ends - datetime.now(UTC)).total_seconds()) if ends else ttl
            return str(self._public.generate_presigned_url("get_object", Params=self._named(key), ExpiresIn=max(1, int(seconds))))

        return await self._run(make)

    def credentials(self) -> Credentials:
        """Blocks where the chain asks a server; refreshes what is about to end."""
        found = self._session.get_credentials()
        if found is None:
            raise Refused(403, "NoCredentials", "boto3 finds no credentials: set storage.s3.accesskey and secretkey, or one of its chain")
        frozen = found.get_frozen_credentials()
        ends = getattr(found, "_expiry_time", None)  # boto3 has no public name for it; None: static
        return {
            "access_key_id": frozen.access_key,
            "secret_access_key": frozen.secret_key,
            "token": frozen.token,
            "expires_at": min(ends, datetime.now(UTC) + _FRESH) if ends else None,
        }

    async def provide(self) -> Credentials:
        return await self._run(self.credentials)

    # Questions of the self test -------------------------------------------------------------------------------------

    async def clock_offset(self) -> float:
        """Seconds that the store's clock is before (+) or behind (-) ours; asks for the bucket on the way."""
        found = await self._ask("HeadBucket", "", lambda: self._client.head_bucket(Bucket=self._access.bucket))
        date = found["ResponseMetadata"]["HTTPHeaders"].get("date")
        return (parsedate_to_datetime(date) - datetime.now(UTC)).total_seconds() if date else 0.0

    async def versioning(self) -> str:
        found = await self._ask("GetBucketVersioning", "", lambda: self._client.get_bucket_versioning(Bucket=self._access.bucket))
        return str(found.get("Status", ""))

    async def lifecycle(self) -> list[dict[str, Any]]:
        """The rules of the bucket; none when nobody set any."""

        def ask() -> list[dict[str, Any]]:
            try:
                return list(self._client.get_bucket_lifecycle_configuration(Bucket=self._access.bucket)["Rules"])
            except ClientError as error:
                if error.response["Error"]["Code"] == "NoSuchLifecycleConfiguration":
                    return []
                raise

        return await self._ask("GetBucketLifecycleConfiguration", "", ask)

    def close(self) -> None:
        self._threads.shutdown(wait=True)
        self._client.close()
        self._public.close()


class _Body:
    """Bytes as a file: of a bytearray itself botocore would make a copy."""

    def __init__(self, data: bytes | bytearray) -> None:
        self._view, self._at = memoryview(data), 0

    def __len__(self) -> int:
        return len(self._view)

    def read(self, size: int = -1) -> memoryview:
        end = len(self._view) if size < 0 else self._at + size
        piece = self._view[self._at : end]
        self._at += len(piece)
        return piece

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset + (0, self._at, len(self._view))[whence]
        return self._at

    def tell(self) -> int:
        return self._at


def _refused(error: ClientError) -> Refused:
    answer = error.response
    status = int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    code = str(answer.get("Error", {}).get("Code", ""))
    return Refused(status, "" if code == str(status) else code, str(error))


def _etag(answer: dict[str, Any]) -> str:
    """A 200 without an ETag is an error that came after the headers had gone out."""
    etag = answer.get("ETag")
    if not etag:
        raise Refused(500, "InternalError", "200 without ETag")
    return str(etag)
