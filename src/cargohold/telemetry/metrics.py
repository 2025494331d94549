"""Counters of one worker, and how the workers' counters come together. All metric names are here.

    hot path --add to plain dicts--> this process --flush() every second--> <folder>/<pid>.counts --gather()--> exposition.py
                                                        a worker died: fold(pid) adds its counters to <folder>/past.counts

A request costs two dictionary look-ups and a bisect, no lock and no system call; that is why counting is ours and only the text form
of /metrics is prometheus-client's (its own multi-process mode costs a lock, a getpid and a mapped write for each of five values,
and keeps a file for each worker that ever lived).

Invariants
- Every name starts with `cargohold_`; label sets are small: past `LABEL_SETS` of one metric, the rest is counted as `other`.
- Counters and histograms never go down while the server lives; gauges are those of living workers.
- What a worker that was killed counted in its last second is lost.

`route` of a request is the name of its handler (Call.route); `method` is a known method or OTHER.
"""

from __future__ import annotations

import contextlib
import os
import time
from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec

LABEL_SETS = 1000
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Upper bounds of the buckets of every duration."""
PAST = "past.counts"

Labels = tuple[str, ...]
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", ""))


class Metric:
    """A named family of values, one for each set of label values. For a histogram a value is [sum, count of bucket 0, 1, ...]."""

    def __init__(self, kind: Literal["counter", "gauge", "histogram"], name: str, help: str, labels: Labels = ()) -> None:
        self.kind, self.name, self.help, self.labels = kind, name, help, labels
        self.values: dict[Labels, list[float]] = {}
        CATALOGUE[name] = self

    def cell(self, labels: Labels) -> list[float]:
        cell = self.values.get(labels)
        if cell is None:
            if len(labels) != len(self.labels):
                raise ValueError(f"{self.name} has the labels {self.labels}, not {labels}")
            if len(self.values) >= LABEL_SETS:
                labels = ("other",) * len(self.labels)
            size = len(SECONDS) + 2 if self.kind == "histogram" else 1
            cell = self.values.setdefault(labels, [0.0] * size)
        return cell


CATALOGUE: dict[str, Metric] = {}
"""Every metric by name; the reference page is made from it."""


class Counter:
    def __init__(self, name: str, help: str, *labels: str) -> None:
        self._metric = Metric("counter", name, help, labels)
        if not labels:
            self._metric.cell(())

    def add(self, *labels: str, by: float = 1.0) -> None:
        self._metric.cell(labels)[0] += by


class Gauge:
    """A value that each worker sets; /metrics shows the sum over the workers that live."""

    def __init__(self, name: str, help: str, *labels: str) -> None:
        self._metric = Metric("gauge", name, help, labels)

    def set(self, value: float, *labels: str) -> None:
        self._metric.cell(labels)[0] = value


class Histogram:
    def __init__(self, name: str, help: str, *labels: str) -> None:
        self._metric = Metric("histogram", name, help, labels)

    def observe(self, seconds: float, *labels: str) -> None:
        cell = self._metric.cell(labels)
        cell[0] += seconds
        cell[1 + bisect_left(SECONDS, seconds)] += 1

    @contextlib.contextmanager
    def timed(self, *labels: str) -> Iterator[None]:
        """Observes how long the block took, also when it fails."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.observe(time.perf_counter() - started, *labels)


_requests = Metric("counter", "cargohold_http_requests", "Requests answered.", ("handler", "method", "code"))
_durations = Metric(
    "histogram", "cargohold_http_request_duration_seconds", "From the last header to the last byte given away.", ("handler",)
)
_received = Metric("counter", "cargohold_http_received_bytes", "Bytes of request bodies.", ("handler",))
_sent = Metric("counter", "cargohold_http_sent_bytes", "Bytes of reply bodies.", ("handler",))

in_flight = Gauge("cargohold_http_requests_in_flight", "Requests being answered.")
connections = Gauge("cargohold_http_connections", "Open connections.")
uploads_open = Gauge(
    "cargohold_uploads_open", "Uploads begun and neither finished nor cancelled, as the worker that counts them sees them."
)
uploads_finished = Counter("cargohold_uploads_finished", "Uploads that became blobs.")
pushed_manifests = Counter("cargohold_manifests_pushed", "Manifests stored.")
storage_seconds = Histogram("cargohold_storage_seconds", "Time of calls to the storage driver.", "driver", "action")
storage_errors = Counter("cargohold_storage_errors", "Calls to the storage driver that failed.", "driver", "action")
db_write_seconds = Histogram("cargohold_db_write_seconds", "Time from asking for a write to its commit.")
auth_failures = Counter("cargohold_auth_failures", "Credentials that were refused.", "kind")
access_lines_dropped = Counter("cargohold_access_log_dropped", "Lines of the access log that nobody took.")
log_lines = Counter("cargohold_log_lines", "Lines logged.", "level")
certificate_expiry = Gauge("cargohold_tls_certificate_expiry_seconds", "When the served certificate ends, in seconds since 1970.")
resident_bytes = Gauge("cargohold_process_resident_bytes", "Memory in use by each process.", "process")
cpu_seconds = Gauge("cargohold_process_cpu_seconds", "Processor time used by each process that lives.", "process")


def request_answered(route: str, method: str, status: int, received: int, sent: int, seconds: float) -> None:
    """One answer. About a microsecond."""
    cells = _answer_cells.get((route, method, status))
    if cells is None:
        cells = _new_cells(route, method, status)
    cells[0][0] += 1
    durations = cells[1]
    durations[0] += seconds
    durations[1 + bisect_left(SECONDS, seconds)] += 1
    if received:
        cells[2][0] += received
    if sent:
        cells[3][0] += sent


_Cells = tuple[list[float], list[float], list[float], list[float]]
_answer_cells: dict[tuple[str, str, int], _Cells] = {}


def _new_cells(route: str, method: str, status: int) -> _Cells:
    """Bound once for each combination, so that an answer does not build labels."""
    handler = (route or "other",)
    method = method if method in _METHODS else "OTHER"
    cells = (_requests.cell((*handler, method, str(status))), _durations.cell(handler), _received.cell(handler), _sent.cell(handler))
    if len(_answer_cells) < LABEL_SETS * 4:
        _answer_cells[route, method, status] = cells
    return cells


def reset() -> None:
    """Forgets every count: a process that was forked starts from nothing."""
    _answer_cells.clear()
    for metric in CATALOGUE.values():
        metric.values = {(): [0.0]} if metric.kind == "counter" and not metric.labels else {}


# Files: {metric name: [[label values], [numbers]] ...}

_Counts = dict[str, list[tuple[Labels, list[float]]]]
_encode, _decoder = msgspec.msgpack.encode, msgspec.msgpack.Decoder(_Counts)


def flush(folder: str) -> None:
    """Puts the counts of this process where `gather` finds them. About 50 microseconds; call it every second."""
    _replace(Path(folder, f"{os.getpid()}.counts"), {name: list(metric.values.items()) for name, metric in CATALOGUE.items()})


def _replace(path: Path, counts: _Counts) -> None:
    """A reader sees the old file or the new one. Not synced: counts need not survive the machine."""
    beside = path.with_suffix(f".{os.getpid()}.new")
    with contextlib.suppress(OSError):  # the folder is gone or full: counting must not stop the server
        beside.write_bytes(_encode(counts))
        beside.replace(path)


def _read(path: Path) -> _Counts:
    try:
        return _decoder.decode(path.read_bytes())
    except (OSError, msgspec.DecodeError):
        return {}


def fold(folder: str, pid: int) -> None:
    """A worker has ended: keeps its counters and histograms, drops its gauges and its file. Only the supervisor calls this."""
    path = Path(folder, f"{pid}.counts")
    gone = _read(path)
    past = {name: dict(cells) for name, cells in _read(Path(folder, PAST)).items()}
    for name, labels, numbers in _lasting(gone):
        kept = past.setdefault(name, {})
        kept[labels] = [a + b for a, b in zip(kept[labels], numbers, strict=True)] if labels in kept else numbers
    _replace(Path(folder, PAST), {name: list(cells.items()) for name, cells in past.items()})
    with contextlib.suppress(OSError):
        path.unlink()


def _lasting(counts: _Counts) -> Iterator[tuple[str, Labels, list[float]]]:
    for name, cells in counts.items():
        if name in CATALOGUE and CATALOGUE[name].kind != "gauge":
            for labels, numbers in cells:
                yield name, labels, numbers


def gather(folder: str) -> dict[str, dict[Labels, list[float]]]:
    """The sum over all workers, living and past, by metric and label values."""
    total: dict[str, dict[Labels, list[float]]] = {name: {} for name in CATALOGUE}
    for path in sorted(Path(folder).glob("*.counts")):
        for name, cells in _read(path).items():
            sums = total.get(name)
            if sums is None:
                continue
            for labels, numbers in cells:
                before = sums.get(labels)
                if before is None:
                    sums[labels] = numbers
                elif name == "cargohold_tls_certificate_expiry_seconds":
                    sums[labels] = [min(before[0], numbers[0])]
                else:
                    sums[labels] = [a + b for a, b in zip(before, numbers, strict=True)]
    return total
