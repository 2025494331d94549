"""What the run must reach. A bound is met or missed by the ratio of rounds: the verdict is `fail` only when even the best
round misses it, `warn` when the median does.

The docker-registry column is easy on small requests: that server compiles its route expressions on every request. The nginx
column is the one that hurts there. For pushes and large bodies docker-registry is a fair peer.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Metric = Literal["rate", "cpu", "p99", "growth"]

CAVEAT = """\
Read the docker-registry column with care: 2.8.2 builds its router and compiles the route expressions on every request, so a
large ratio on a small GET mostly says that we do not. With GOGC=400 the same program is 1.4 to 2 times faster on small requests:
that column is printed too. For small GETs the honest neighbour is nginx; for pushes and large bodies docker-registry is a fair
peer. Catalog and tag list compare an indexed query with a walk over folders. Everything is read from the page cache except in
the cold row, on one machine that client and servers share. We run with htpasswd and metrics on, the peers without."""


class Target(msgspec.Struct, frozen=True):
    op: str
    versus: str
    """A server's name; empty: the bound is absolute (MiB for growth)."""
    bound: float
    metric: Metric = "rate"
    at_most: bool = False


def _both(op: str, registry: float, nginx: float) -> list[Target]:
    return [Target(op, "docker-registry", registry), Target(op, "nginx", nginx)]


TARGETS: tuple[Target, ...] = (
    *_both("base", 15, 0.3),
    *_both("head-manifest", 12, 0.2),
    *_both("get-manifest", 12, 0.2),
    *_both("get-manifest-digest", 12, 0.2),
    *_both("blob-4k", 15, 0.2),
    *_both("head-blob", 10, 0.2),
    *_both("blob-1m", 3.5, 0.5),
    *_both("blob-100m", 1.2, 0.8),
    Target("blob-100m", "docker-registry", 0.7, "cpu", at_most=True),
    Target("blob-100m", "nginx", 1.5, "cpu", at_most=True),
    *_both("range-64k", 8, 0.2),
    Target("tags-page", "docker-registry", 25),
    Target("catalog-page", "docker-registry", 60),
    Target("push-1", "docker-registry", 3),
    Target("push-8", "docker-registry", 3.5),
    Target("push-32", "docker-registry", 4.5),
    Target("push-32", "docker-registry", 0.35, "p99", at_most=True),
    Target("upload-chunked", "docker-registry", 1.4),
    Target("upload-length", "docker-registry", 1.4),
    Target("upload-tls", "docker-registry tls", 1.1),
    Target("upload-memory", "", 48, "growth", at_most=True),
)


def of(op: str) -> list[Target]:
    return [target for target in TARGETS if target.op == op]
