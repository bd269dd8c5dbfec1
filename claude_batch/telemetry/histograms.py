"""Histograms counted by ourselves, and handed to OpenTelemetry when somebody asks for metrics.

The SDK's own take 10 microseconds per value: with three values per attempt, a tenth of what a
request costs in all. Ours take half of one.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
)

from claude_batch.telemetry.instruments import Attributes, Instrument


@dataclass(slots=True)
class Distribution:
    """Values by bucket: those at most as large as each of the `bounds`, and the rest."""

    bounds: Sequence[float]
    attributes: Attributes
    counts: list[int] = field(init=False)
    total: float = 0.0
    least: float = float("inf")
    most: float = float("-inf")

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    def add(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value
        self.least = min(self.least, value)
        self.most = max(self.most, value)

    def point(self, began_ns: int, now_ns: int) -> HistogramDataPoint:
        """Return what has been counted so far."""
        counts = list(self.counts)
        return HistogramDataPoint(
            attributes=self.attributes,
            start_time_unix_nano=began_ns,
            time_unix_nano=now_ns,
            count=sum(counts),
            sum=self.total,
            bucket_counts=counts,
            explicit_bounds=self.bounds,
            min=self.least,
            max=self.most,
        )


@dataclass(slots=True)
class Histograms:
    """All distributions of some instruments."""

    _found: dict[str, tuple[Instrument, list[Distribution]]] = field(default_factory=dict)
    _began_ns: int = field(default_factory=time.time_ns)

    def open(
        self, instrument: Instrument, bounds: Sequence[float], attributes: Attributes
    ) -> Distribution:
        """Return a new distribution of an instrument, for one set of attributes."""
        _, distributions = self._found.setdefault(instrument.name, (instrument, []))
        distributions.append(Distribution(bounds, attributes))
        return distributions[-1]

    def added_to(self, data: MetricsData) -> MetricsData:
        """Return metrics that the SDK has collected, with ours among them."""
        now_ns = time.time_ns()
        metrics = [
            Metric(
                name=instrument.name,
                description=instrument.description,
                unit=instrument.unit,
                data=Histogram(
                    data_points=[
                        each.point(self._began_ns, now_ns) for each in list(distributions)
                    ],
                    aggregation_temporality=AggregationTemporality.CUMULATIVE,
                ),
            )
            for instrument, distributions in list(self._found.values())
        ]
        resource, *others = data.resource_metrics
        scope, *more = resource.scope_metrics
        scope = replace(scope, metrics=[*scope.metrics, *metrics])
        resource = replace(resource, scope_metrics=[scope, *more])
        return replace(data, resource_metrics=[resource, *others])
