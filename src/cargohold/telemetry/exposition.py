"""The text of /metrics: what metrics.py gathered, in the form that Prometheus reads. The only file that imports prometheus_client."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from cargohold.telemetry import metrics

CONTENT_TYPE = CONTENT_TYPE_LATEST


class _Gathered(Collector):
    def __init__(self, folder: str) -> None:
        self._folder = folder

    def collect(self) -> Iterator[Metric]:
        for name, cells in metrics.gather(self._folder).items():
            metric = metrics.CATALOGUE[name]
            if metric.kind == "counter":
                counter = CounterMetricFamily(name, metric.help, labels=metric.labels)
                for labels, numbers in cells.items():
                    counter.add_metric(labels, numbers[0])
                yield counter
            elif metric.kind == "gauge":
                gauge = GaugeMetricFamily(name, metric.help, labels=metric.labels)
                for labels, numbers in cells.items():
                    gauge.add_metric(labels, numbers[0])
                yield gauge
            else:
                histogram = HistogramMetricFamily(name, metric.help, labels=metric.labels)
                for labels, numbers in cells.items():
                    histogram.add_metric(labels, _buckets(numbers), numbers[0])
                yield histogram


def _buckets(numbers: list[float]) -> list[tuple[str, float]]:
    """Cumulated: bound -> values at or below it."""
    bounds = [*(str(bound) for bound in metrics.SECONDS), "+Inf"]
    total = 0.0
    found = []
    for bound, number in zip(bounds, numbers[1:], strict=True):
        total += number
        found.append((bound, total))
    return found


def render(folder: str) -> bytes:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Gathered(folder))
    return generate_latest(registry)
