"""Rounds alternate, ratios stay inside a round, a spoiled round gives none."""

from __future__ import annotations

from functools import partial

from bench.measure import Sample, Series

from bench import measure


def _series(ours: list[Sample], theirs: list[Sample]) -> Series:
    return Series(op="x", ours="ours", samples={"ours": ours, "theirs": theirs})


def test_every_second_round_goes_the_other_way() -> None:
    order: list[str] = []

    def sample(name: str, turn: int) -> Sample:
        order.append(f"{name}{turn}")
        return Sample(rate=1)

    found = measure.rounds({name: partial(sample, name) for name in "ABC"}, 3)
    assert order == ["A0", "B0", "C0", "C1", "B1", "A1", "A2", "B2", "C2"]
    assert {name: len(samples) for name, samples in found.items()} == {"A": 3, "B": 3, "C": 3}


def test_a_ratio_pairs_the_samples_of_one_round() -> None:
    series = _series([Sample(rate=10), Sample(rate=40)], [Sample(rate=10), Sample(rate=20)])
    found = measure.ratios(series, "theirs", lambda sample: sample.rate)
    assert found is not None
    assert (found.median, found.low, found.high, found.n) == (1.5, 1.0, 2.0, 2)


def test_a_bad_sample_voids_its_round_on_either_side() -> None:
    series = _series([Sample(rate=9, bad=1), Sample(rate=2), Sample(rate=3)], [Sample(rate=1), Sample(rate=1, bad=2), Sample(rate=1)])
    found = measure.ratios(series, "theirs", lambda sample: sample.rate)
    assert found is not None
    assert (found.median, found.n) == (3.0, 1)
    assert measure.voided(series) == 2


def test_a_client_that_takes_most_of_a_core_is_told() -> None:
    series = _series([Sample(rate=1, client=0.71)], [Sample(rate=1, client=0.69)])
    assert measure.client_bound(series, "ours")
    assert not measure.client_bound(series, "theirs")
