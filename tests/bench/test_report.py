"""A verdict fails only when the best round misses; without two good rounds there is none but void."""

from __future__ import annotations

import pytest
from bench.measure import Sample, Series
from bench.rows import ALL

from bench import report, targets


def _lines(op: str, ours: list[float], *, versus: str, bad: int = 0, **fields: list[float]) -> dict[str, report.Line]:
    samples = [Sample(rate=rate, bad=bad) for rate in ours]
    for name, values in fields.items():
        for sample, value in zip(samples, values, strict=True):
            setattr(sample, name, value)
    theirs = [Sample(rate=1, cpu=1, p99_ms=1) for _ in ours]
    return {
        line.metric: line for line in report.lines("title", Series(op=op, ours="cargohold", samples={versus: theirs, "cargohold": samples}))
    }


@pytest.mark.parametrize(
    ("rates", "verdict"),
    [([3.0, 3.5, 4.0], report.OK), ([2.0, 2.5, 3.1], report.WARN), ([2.0, 2.5, 2.9], report.FAIL), ([5.0], report.VOID)],
)
def test_at_least(rates: list[float], verdict: str) -> None:
    assert _lines("push-1", rates, versus="docker-registry")["rate"].verdict == verdict


@pytest.mark.parametrize(
    ("ratios", "verdict"), [([0.3, 0.3, 0.9], report.OK), ([0.3, 0.4, 0.5], report.WARN), ([0.4, 0.5, 0.6], report.FAIL)]
)
def test_at_most(ratios: list[float], verdict: str) -> None:
    assert _lines("push-32", [9.0, 9.0, 9.0], versus="docker-registry", p99_ms=ratios)["p99"].verdict == verdict


def test_rounds_with_wrong_answers_are_void_however_fast() -> None:
    assert _lines("push-1", [99.0, 99.0], versus="docker-registry", bad=1)["rate"].verdict == report.VOID


def test_every_target_has_a_row() -> None:
    assert {target.op for target in targets.TARGETS} <= {row.name for row in ALL}


def test_an_absolute_target_needs_no_neighbour() -> None:
    series = Series(op="upload-memory", ours="cargohold", samples={"cargohold": [Sample(rate=1, growth_mib=49)]})
    assert [line.verdict for line in report.lines("title", series)] == [report.FAIL]
