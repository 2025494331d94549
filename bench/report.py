"""The table, and the history: one JSON line per sample.

A verdict is `ok`, `warn` (the median misses the target), `fail` (even the best round misses it) or `void` (no good rounds).
Without a target there is no verdict: the line informs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from bench import measure, targets
from bench.machine import Machine
from bench.measure import Sample, Series, Spread
from bench.targets import Target

OK, WARN, FAIL, VOID = "ok", "warn", "FAIL", "VOID"

_METRICS: dict[str, Callable[[Sample], float]] = {
    "rate": lambda sample: sample.rate,
    "cpu": lambda sample: sample.cpu,
    "p99": lambda sample: sample.p99_ms,
    "growth": lambda sample: sample.growth_mib,
}
_WHAT = {"rate": "rate", "cpu": "processor time", "p99": "p99", "growth": "growth, MiB"}

HEAD = (
    "| row | beside | what | ours / theirs, median (min-max) | n | target | verdict | ours | theirs | our cpu | their cpu "
    "| cpu, ours / theirs | our p50 / p99 ms | our RSS MiB | remarks |\n|" + "---|" * 15
)


class Line(msgspec.Struct):
    """One line of the table: one series beside one neighbour, by one metric."""

    op: str
    versus: str
    metric: str
    ratio: Spread | None
    target: Target | None
    verdict: str
    text: str


def lines(title: str, series: Series) -> list[Line]:
    """A line for each target and for each neighbour without one."""
    wanted = targets.of(series.op)
    aimed = {target.versus for target in wanted}
    free = [name for name in series.samples if name != series.ours and name not in aimed]
    made = [
        _line(title, series, target.versus, target.metric, target)
        for target in wanted
        if target.versus in series.samples or not target.versus
    ]
    made += [_line(title, series, name, "rate", None) for name in free]
    if not made:
        made = [_line(title, series, "", "rate", None)]
    return made


def _line(title: str, series: Series, versus: str, metric: str, target: Target | None) -> Line:
    pick = _METRICS[metric]
    ratio = measure.ratios(series, versus, pick) if versus else measure.values(series, series.ours, pick)
    verdict = _verdict(ratio, target, absolute=not versus)
    return Line(series.op, versus, metric, ratio, target, verdict, _text(title, series, versus, metric, ratio, target, verdict))


def _verdict(ratio: Spread | None, target: Target | None, *, absolute: bool) -> str:
    if target is None:
        return ""
    if ratio is None or (ratio.n < 2 and not absolute):
        return VOID
    best = ratio.low if target.at_most else ratio.high
    sign = -1 if target.at_most else 1
    if sign * best < sign * target.bound:
        return FAIL
    return OK if sign * ratio.median >= sign * target.bound else WARN


def _text(title: str, series: Series, versus: str, metric: str, ratio: Spread | None, target: Target | None, verdict: str) -> str:
    ours = series.samples[series.ours]
    cells = [
        f"`{series.op}` {title}",
        versus.replace("docker-registry", "registry") or "-",
        _WHAT[metric],
        str(ratio) if ratio and (versus or target) else "-",
        str(ratio.n if ratio else 0),
        f"{'<=' if target.at_most else '>='} {target.bound:g}" if target else "",
        verdict,
        _rate(ours),
        _rate(series.samples[versus]) if versus else "",
        _cpu(ours),
        _cpu(series.samples[versus]) if versus else "",
        _cpu_ratio(series, versus) if versus else "",
        f"{_median(ours, 'p50_ms'):.3g} / {_median(ours, 'p99_ms'):.3g}",
        f"{max(sample.rss_mib for sample in ours):.0f}",
        "; ".join(_remarks(series, versus)),
    ]
    return "| " + " | ".join(cells) + " |"


def _cpu_ratio(series: Series, versus: str) -> str:
    """Processor time stays comparable on a machine that others use too, where rates do not."""
    ratio = measure.ratios(series, versus, _METRICS["cpu"])
    return f"{ratio.median:.2g}" if ratio else "-"


def _remarks(series: Series, versus: str) -> list[str]:
    found = [f"client-bound: {name}" for name in (series.ours, versus) if name and measure.client_bound(series, name)]
    if void := measure.voided(series):
        found.append(f"{void} void rounds")
    return found


def _median(samples: list[Sample], field: str) -> float:
    spread = measure.spread([getattr(sample, field) for sample in samples])
    return spread.median if spread else 0.0


def _rate(samples: list[Sample]) -> str:
    rate = _median(samples, "rate")
    return f"{rate:,.0f} {samples[0].unit}" if rate >= 10 else f"{rate:.2g} {samples[0].unit}"


def _cpu(samples: list[Sample]) -> str:
    cpu = _median(samples, "cpu")
    if samples[0].unit == "MB/s":
        return f"{cpu:.2f} s/GiB"
    return f"{cpu:,.0f} us"


def heading(machine: Machine, fsync: list[str]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    return "\n".join(
        [
            f"- machine: {machine.cores} cores, {machine.processor}, {' '.join(machine.flags) or 'no sha_ni, avx2, aes'}; {machine.system}",
            f"- load average at the start: {machine.load_average:.2f} (anything above 0.2 is noise from others)",
            f"- versions: {versions}",
            f"- fsync of a new 4 KiB file: {machine.fsync_us:.0f} us, with its folder: {machine.folder_fsync_us:.0f} us",
            *(f"- fsync setting: {told}" for told in fsync),
            "",
            targets.CAVEAT,
        ]
    )


class History:
    """Appends to one file: a line for the machine, then one per sample. Compare ratios of one run only."""

    def __init__(self, path: Path, machine: Machine) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._run = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self._write([{"run": self._run, "machine": machine}])

    def add(self, series: Series) -> None:
        self._write(
            {"run": self._run, "op": series.op, "server": server, "round": turn, "sample": sample}
            for server, samples in series.samples.items()
            for turn, sample in enumerate(samples)
        )

    def verdicts(self, found: Iterable[Line]) -> None:
        self._write(
            {"run": self._run, "op": line.op, "versus": line.versus, "metric": line.metric, "ratio": line.ratio, "verdict": line.verdict}
            for line in found
        )

    def _write(self, rows: Iterable[object]) -> None:
        with self._path.open("ab") as out:
            for row in rows:
                out.write(msgspec.json.encode(row) + b"\n")
