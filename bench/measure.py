"""Samples, series of interleaved rounds, and ratios.

A sample is one server under one load for a second or so. A series is the same operation on several servers: odd rounds go
A B C, even rounds C B A, so that a drift of the machine hits all alike. A ratio is taken inside one round, never across.

A sample with `bad` (wrong status, reset, short body) is void: its round gives no ratio, and a series with fewer than two
good rounds has no verdict but `void`.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping

import msgspec

CLIENT_BOUND = 0.7
"""Share of a core above which the client, not the server, may set the rate."""


class Sample(msgspec.Struct, kw_only=True):
    rate: float
    """Per second: requests, images or MB, as `unit` says."""
    unit: str = "req/s"
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    tail_ms: float = 0.0
    """Time of the last request of a chain (the PUT that ends an upload)."""
    cpu: float = 0.0
    """Server's processor time: microseconds per request or image; seconds per GiB when the unit is MB/s."""
    rss_mib: float = 0.0
    """Peak of the whole group."""
    growth_mib: float = 0.0
    """Largest growth of one process."""
    client: float = 0.0
    """Client's share of a core."""
    bad: int = 0
    note: str = ""


class Series(msgspec.Struct, kw_only=True):
    """`samples[server]` has one entry per round, in round order; notes say what the table cannot."""

    op: str
    ours: str
    samples: dict[str, list[Sample]]
    notes: list[str] = []


class Spread(msgspec.Struct, frozen=True):
    median: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{_short(self.median)} ({_short(self.low)}-{_short(self.high)})"


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def spread(values: list[float]) -> Spread | None:
    return Spread(statistics.median(values), min(values), max(values), len(values)) if values else None


def rounds(sides: Mapping[str, Callable[[int], Sample]], count: int) -> dict[str, list[Sample]]:
    """Runs each side once per round, in alternating order; `sides[name](round)` makes the sample."""
    samples: dict[str, list[Sample]] = {name: [] for name in sides}
    for turn in range(count):
        order = list(sides)[:: 1 if turn % 2 == 0 else -1]
        for name in order:
            samples[name].append(sides[name](turn))
    return samples


def ratios(series: Series, versus: str, metric: Callable[[Sample], float]) -> Spread | None:
    """Ours divided by `versus`, per round in which both are good."""
    pairs = zip(series.samples[series.ours], series.samples[versus], strict=True)
    return spread([metric(a) / metric(b) for a, b in pairs if not a.bad and not b.bad and metric(b)])


def values(series: Series, server: str, metric: Callable[[Sample], float]) -> Spread | None:
    return spread([metric(sample) for sample in series.samples[server] if not sample.bad])


def voided(series: Series) -> int:
    """Rounds that some server spoiled."""
    return sum(any(sample.bad for sample in turn) for turn in zip(*series.samples.values(), strict=True))


def client_bound(series: Series, server: str) -> bool:
    shares = [sample.client for sample in series.samples[server]]
    return bool(shares) and statistics.median(shares) > CLIENT_BOUND
