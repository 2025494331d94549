"""The same work under other conditions: cold cache, slow fsync, a PUT that lands on another worker, other auth, TLS."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from bench import clients, measure, seed, watch
from bench.clients import MIB, Layer
from bench.measure import Sample, Series
from bench.rows import pushes, reads, uploads
from bench.rows.row import Request, Row, check, loaded, sides
from bench.seed import APP
from bench.servers import MANIFEST, Missing
from bench.stage import NGINX, OURS, REGISTRY, SLOW_FSYNC_MS, Stage


def _cold(stage: Stage) -> Series:
    """64 blobs of 1 MiB, each asked for once, after the kernel was told to forget their pages."""
    servers, notes = sides(stage, (REGISTRY, NGINX, OURS), OURS)
    paths = stage.folder / "cold"
    paths.write_text("\n".join(f"/v2/{APP}/blobs/{digest}" for digest in stage.seed.cold))
    digest = stage.seed.cold[0]
    for server in servers.values():
        check(server, Request(path=f"/v2/{APP}/blobs/{digest}", length=MIB, digest=digest))

    def sample(name: str, turn: int) -> Sample:
        root = stage.root(REGISTRY if name == NGINX else name)
        os.sync()
        for digest in stage.seed.cold:
            _evict(seed.blob_file(root, digest))
        return clients.load(servers[name], f"@{paths}", seconds=30, connections=4, expected=MIB, by_bytes=True)

    samples = measure.rounds({name: partial(sample, name) for name in servers}, stage.rounds)
    return Series(op="blob-cold", ours=OURS, samples=samples, notes=notes)


def _evict(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(fd)


def _slow_fsync(stage: Stage) -> Series:
    """Every fsync held for 5 ms by strace on both sides; the notes count them."""
    names = (f"{REGISTRY} slow fsync", f"{OURS} slow fsync")
    servers, _ = sides(stage, names, names[1])
    series = pushes.pushed(stage, "slow-fsync-push-8", 8, tuple(servers), ours=names[1], seconds=1.5)
    for name in servers:
        plan = stage.folder / "one.plan"
        seed.plan(plan, 1)
        before = _calls(stage.fsyncs(name))
        clients.push(servers[name], plan, clients=1, seconds=30)
        series.notes.append(f"{name}: {_calls(stage.fsyncs(name)) - before} fsyncs for one image, {SLOW_FSYNC_MS} ms added to each")
        stage.stop(name)
    return series


def _calls(path: Path) -> int:
    """Calls in strace's file; a call that another thread interrupts has a second line, which says `resumed>)`."""
    text = path.read_bytes()
    return text.count(b"sync(") + text.count(b"sync_file_range(")


def _other_worker(stage: Stage) -> Series:
    """The last PUT of an upload on the worker that took the bytes, and on another one: what the hand-over costs."""
    server = stage.server(OURS)
    if len(watch.members(server.pid)) < 3:
        raise Missing("fewer than two workers")
    same = "same worker"

    def sample(name: str, turn: int) -> Sample:
        layer = Layer(64 * MIB)
        os.sync()
        told = clients.upload_across(server, layer, other=name == OURS)
        uploads.forget(stage, OURS, server, layer)
        return told

    samples = measure.rounds({name: partial(sample, name) for name in (same, OURS)}, stage.rounds)
    tails = {name: measure.values(Series(op="", ours="", samples=samples), name, lambda sample: sample.tail_ms) for name in samples}
    notes = [f"PUT of 64 MiB, {'another worker' if name == OURS else name}: {tail} ms" for name, tail in tails.items()]
    return Series(op="put-other-worker", ours=OURS, samples=samples, notes=notes)


def _auth(kind: str, stage: Stage) -> Series:
    request = Request(path=f"/v2/{APP}/manifests/small", headers={"Accept": MANIFEST}, digest=stage.seed.digests["small"])
    name = f"{OURS} {kind}"
    series = loaded(stage, f"auth-{kind.replace(' ', '-')}", request, (OURS, name), ours=name)
    stage.stop(name)
    return series


def _tls(op: str, path: Callable[[Stage], tuple[str, int, bool]], stage: Stage) -> Series:
    ours = f"{OURS} tls"
    servers, notes = sides(stage, (f"{REGISTRY} tls", f"{NGINX} tls", ours), ours)
    target, connections, by_bytes = path(stage)
    digest, accept = target.rpartition("/")[2], {"Accept": MANIFEST}
    for server in servers.values():
        wanted = stage.seed.digests.get("manifest", "") if digest == "latest" else digest
        check(server, Request(path=target, digest=wanted, headers=accept))

    def sample(name: str, turn: int) -> Sample:
        return clients.wrk(servers[name], target, seconds=1, connections=connections, by_bytes=by_bytes, headers=accept)

    samples = measure.rounds({name: partial(sample, name) for name in servers}, stage.rounds)
    return Series(op=op, ours=ours, samples=samples, notes=notes)


def _tls_manifest(stage: Stage) -> tuple[str, int, bool]:
    return f"/v2/{APP}/manifests/latest", 16, False


def _tls_blob(stage: Stage) -> tuple[str, int, bool]:
    return reads.blob(stage.seed, "100m").path, 4, True


ROWS = (
    Row("blob-cold", "GET blob 1 MiB, cold cache, 4 connections", _cold),
    Row("slow-fsync-push-8", "push of a small image, 8 clients, slow fsync", _slow_fsync),
    Row("put-other-worker", "upload of 64 MiB, PUT on another worker", _other_worker),
    Row("auth-no-auth", "GET manifest, no auth", partial(_auth, "no auth")),
    Row("auth-token", "GET manifest, bearer token", partial(_auth, "token")),
    Row("tls-manifest", "GET manifest, TLS", partial(_tls, "tls-manifest", _tls_manifest)),
    Row("tls-blob-100m", "GET blob 100 MiB, TLS, 4 connections", partial(_tls, "tls-blob-100m", _tls_blob)),
)
