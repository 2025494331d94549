"""Other engines below the same protocol: S3 (streamed through, and redirected) and PostgreSQL instead of SQLite."""

from __future__ import annotations

from functools import partial

from bench.clients import MIB
from bench.measure import Series
from bench.rows import reads, uploads
from bench.rows.pushes import pushed
from bench.rows.row import Request, Row, loaded
from bench.seed import APP
from bench.servers import MANIFEST
from bench.stage import OURS, REGISTRY, Stage

_S3, _REDIRECT, _PEER = f"{OURS} s3", f"{OURS} s3 redirect", f"{REGISTRY} s3"
_POSTGRES = f"{OURS} postgres"


def _s3_blob(stage: Stage) -> Series:
    return loaded(stage, "s3-blob-1m", reads.blob(stage.seed, "1m", by_bytes=True), (_PEER, _S3), ours=_S3)


def _s3_redirect(stage: Stage) -> Series:
    """Only the answer that sends the client to the bucket: the bytes are then the bucket's affair. 1 MiB and less is not redirected."""
    request = Request(path=reads.blob(stage.seed, "2m").path, status=307)
    series = loaded(stage, "s3-redirect", request, (_REDIRECT,), ours=_REDIRECT)
    stage.stop(_REDIRECT)
    return series


def _s3_push(stage: Stage) -> Series:
    return pushed(stage, "s3-push-8", 8, (_PEER, _S3), ours=_S3, seconds=1.5)


def _s3_upload(stage: Stage) -> Series:
    series = uploads.uploaded(stage, "s3-upload", 64 * MIB, (_PEER, _S3), ours=_S3, chunked=True)
    stage.stop(_PEER)
    stage.stop(_S3)
    return series


def _postgres_head(stage: Stage) -> Series:
    request = Request(path=f"/v2/{APP}/manifests/small", method="HEAD", headers={"Accept": MANIFEST}, length=len(stage.seed.body("small")))
    return loaded(stage, "postgres-head-manifest", request, (REGISTRY, OURS, _POSTGRES), ours=_POSTGRES)


def _postgres_blob(stage: Stage) -> Series:
    return loaded(stage, "postgres-blob-4k", reads.blob(stage.seed, "4k"), (REGISTRY, OURS, _POSTGRES), ours=_POSTGRES)


def _postgres_push(count: int, stage: Stage) -> Series:
    return pushed(stage, f"postgres-push-{count}", count, (REGISTRY, OURS, _POSTGRES), ours=_POSTGRES, seconds=1.2)


ROWS = (
    Row("s3-blob-1m", "GET blob 1 MiB, S3, streamed through", _s3_blob),
    Row("s3-redirect", "GET blob 2 MiB, S3, the redirect alone", _s3_redirect),
    Row("s3-push-8", "push of a small image, 8 clients, S3", _s3_push),
    Row("s3-upload", "upload of 64 MiB, chunked, S3", _s3_upload),
    Row("postgres-head-manifest", "HEAD manifest, PostgreSQL", _postgres_head),
    Row("postgres-blob-4k", "GET blob 4 KiB, PostgreSQL", _postgres_blob),
    Row("postgres-push-8", "push of a small image, 8 clients, PostgreSQL", partial(_postgres_push, 8)),
)
