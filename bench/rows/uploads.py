"""One large layer: chunked as Go's client sends it, with Content-Length, over TLS; and what a long one does to memory.

A round moves at most 512 MiB over all sides: more, and the disk's write-back throttles the later rounds. Data is synced
before, and deleted after, every upload.
"""

from __future__ import annotations

import os
from functools import partial

from bench import clients, measure, seed
from bench.clients import MIB, Layer
from bench.measure import Sample, Series
from bench.rows.row import Row, sides
from bench.seed import blob_file
from bench.servers import Server
from bench.stage import OURS, REGISTRY, Stage

REPOSITORY = "bench/large"


def forget(stage: Stage, name: str, server: Server, layer: Layer) -> None:
    """Deletes the layer over the API and takes its bytes off the disk, which neither side does at once by itself."""
    server.request("DELETE", f"/v2/{REPOSITORY}/blobs/{layer.digest}")
    blob_file(stage.root(name), layer.digest).unlink(missing_ok=True)


def uploaded(stage: Stage, op: str, size: int, names: tuple[str, ...], *, ours: str, chunked: bool) -> Series:
    servers, notes = sides(stage, names, ours)
    for server in servers.values():
        seed.Pusher(server).blob(REPOSITORY, b"keeps the repository alive between two rounds")
    layers = [Layer(size) for _ in range(stage.rounds)]

    def sample(name: str, turn: int) -> Sample:
        os.sync()
        told = clients.upload(servers[name], layers[turn], chunked=chunked)
        if turn == 0:
            _check(servers[name], layers[turn])
        forget(stage, name, servers[name], layers[turn])
        return told

    samples = measure.rounds({name: partial(sample, name) for name in servers}, stage.rounds)
    return Series(op=op, ours=ours, samples=samples, notes=notes)


def _check(server: Server, layer: Layer) -> None:
    status, headers, _ = server.request("HEAD", f"/v2/{REPOSITORY}/blobs/{layer.digest}")
    if status != 200 or int(headers["Content-Length"]) != layer.size:
        raise RuntimeError(f"{server.name}: the layer is not what was sent: {status} {headers['Content-Length']}")


def _run(op: str, chunked: bool, suffix: str, stage: Stage) -> Series:
    size = (96 if stage.quick or suffix else 192) * MIB
    return uploaded(stage, op, size, (REGISTRY + suffix, OURS + suffix), ours=OURS + suffix, chunked=chunked)


def _memory(stage: Stage) -> Series:
    """Growth of one process over one upload; the server has served before, so its code and caches are already there."""
    server = stage.server(OURS)
    layer = Layer((512 if stage.quick else 1024) * MIB)
    os.sync()
    told = clients.upload(server, layer, chunked=True)
    forget(stage, OURS, server, layer)
    return Series(op="upload-memory", ours=OURS, samples={OURS: [told]}, notes=[f"one upload of {layer.size // MIB} MiB"])


ROWS = (
    Row("upload-chunked", "upload of a large layer, chunks of 32 KiB", partial(_run, "upload-chunked", True, "")),
    Row("upload-length", "upload of a large layer, Content-Length", partial(_run, "upload-length", False, "")),
    Row("upload-tls", "upload of a large layer, chunked, TLS", partial(_run, "upload-tls", True, " tls")),
    Row("upload-memory", "growth of memory in one long upload", _memory),
)
