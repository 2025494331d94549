"""Pulls from the page cache: the base endpoint, manifests, blobs of three sizes, a range, a page of tags and of the catalog."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial

from bench import seed as seeds
from bench.measure import Series
from bench.rows.row import Request, Row, loaded
from bench.seed import APP, TAGS, Seed
from bench.servers import MANIFEST
from bench.stage import NGINX, OURS, REGISTRY, TUNED, Stage

_PAGE = 100
_ACCEPT = {"Accept": MANIFEST}


def _base(seed: Seed) -> Request:
    return Request(path="/v2/")


def _manifest(seed: Seed, *, method: str = "GET", reference: str = "latest") -> Request:
    reference = seed.digests.get(reference, reference)
    body = seed.body("manifest")
    return Request(
        path=f"/v2/{APP}/manifests/{reference}",
        method=method,
        headers=_ACCEPT,
        length=len(body),
        digest=seed.digests["manifest"],
    )


def blob(seed: Seed, name: str, *, method: str = "GET", connections: int = 16, by_bytes: bool = False) -> Request:
    digest = seed.digests[name]
    return Request(
        path=f"/v2/{APP}/blobs/{digest}",
        method=method,
        length=len(seed.body(name)),
        digest=digest,
        connections=connections,
        by_bytes=by_bytes,
    )


def _range(seed: Seed) -> Request:
    start, length = 300_000, 65_536
    part = seed.body("1m")[start : start + length]
    return Request(
        path=f"/v2/{APP}/blobs/{seed.digests['1m']}",
        headers={"Range": f"bytes={start}-{start + length - 1}"},
        length=length,
        digest=seeds.digest_of(part),
        status=206,
    )


def _tags(seed: Seed) -> Request:
    names = seeds.tag_names()
    return Request(path=f"/v2/{TAGS}/tags/list?n={_PAGE}&last={names[4999]}", words=json.dumps(names[5000 : 5000 + _PAGE]), connections=8)


def _catalog(seed: Seed) -> Request:
    names = seeds.repository_names()
    return Request(path=f"/v2/_catalog?n={_PAGE}&last={names[999]}", words=json.dumps(names[1000 : 1000 + _PAGE]), connections=8)


def _run(op: str, request: Callable[[Seed], Request], names: tuple[str, ...], seconds: float, stage: Stage) -> Series:
    if op.endswith("-page"):
        stage.lists()
    return loaded(stage, op, request(stage.seed), names, ours=OURS, seconds=seconds)


def _row(name: str, title: str, request: Callable[[Seed], Request], *names: str, seconds: float = 0) -> Row:
    return Row(name, title, partial(_run, name, request, names or (REGISTRY, TUNED, NGINX, OURS), seconds))


ROWS = (
    _row("base", "GET /v2/", _base),
    _row("head-manifest", "HEAD manifest by tag", partial(_manifest, method="HEAD")),
    _row("get-manifest", "GET manifest by tag, 2 KB", _manifest),
    _row("get-manifest-digest", "GET manifest by digest", partial(_manifest, reference="manifest")),
    _row("blob-4k", "GET blob 4 KiB", partial(blob, name="4k")),
    _row("head-blob", "HEAD blob", partial(blob, name="1m", method="HEAD")),
    _row("blob-1m", "GET blob 1 MiB", partial(blob, name="1m", by_bytes=True)),
    _row(
        "blob-100m",
        "GET blob 100 MiB, 4 connections",
        partial(blob, name="100m", connections=4, by_bytes=True),
        REGISTRY,
        NGINX,
        OURS,
        seconds=1.5,
    ),
    _row("range-64k", "GET range 64 KiB of 1 MiB", _range),
    _row("tags-page", "tags, 100 of 10,000, 8 connections", _tags, REGISTRY, TUNED, OURS),
    _row("catalog-page", "catalog, 100 of 2,003, 8 connections", _catalog, REGISTRY, TUNED, OURS),
)
