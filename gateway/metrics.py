"""Counters, gauges and histograms as plain dictionaries; prometheus-client writes them out.

A request moves a dozen of them. On prometheus-client's own objects, which lock and look labels up
each time, that costs a third of the whole data path (benchmarks/RESULTS.md); here one process has
one event loop, which needs neither.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any, Protocol

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

Labels = tuple[str, ...]
# By a metric's name, its label values and what is kept for them; the same as JSON and back.
Series = Mapping[str, Sequence[tuple[Sequence[str], Any]]]


class Family(Protocol):
    """A metric with its series. `lasting` ones go on from what a worker before them counted."""

    name: str

    @property
    def lasting(self) -> bool: ...

    @property
    def values(self) -> Mapping[Labels, Any]: ...

    def absorb(self, labels: Labels, value: Any) -> None: ...

    def collect(self) -> Metric: ...


class Counter:
    """A sum that only grows, by label values."""

    lasting = True

    def __init__(self, name: str, documentation: str, labels: Sequence[str] = ()) -> None:
        self.name, self.documentation, self.labels = name, documentation, labels
        self.values: defaultdict[Labels, float] = defaultdict(float)
        if not labels:
            self.values[()] = 0.0

    def add(self, amount: float, *labels: str) -> None:
        """Add to the series of these label values."""
        self.values[labels] += amount

    def absorb(self, labels: Labels, value: float) -> None:
        """Take in what another process counted."""
        self.values[labels] += value

    def collect(self) -> Metric:
        family = CounterMetricFamily(self.name, self.documentation, labels=self.labels)
        for labels, value in self.values.items():
            family.add_metric(labels, value)
        return family


class Gauge:
    """A value that goes up and down, by label values. `merge` makes one of two processes' values:
    sum where each has its own, max where all look at the same thing."""

    lasting = False

    def __init__(
        self,
        name: str,
        documentation: str,
        labels: Sequence[str] = (),
        *,
        merge: Callable[[float, float], float],
    ) -> None:
        self.name, self.documentation, self.labels = name, documentation, labels
        self.values: dict[Labels, float] = {} if labels else {(): 0.0}
        self._merge = merge

    def set(self, value: float, *labels: str) -> None:
        """Set the series of these label values."""
        self.values[labels] = value

    def absorb(self, labels: Labels, value: float) -> None:
        """Take in what another process sees."""
        self.values[labels] = self._merge(self.values.get(labels, 0.0), value)

    def collect(self) -> Metric:
        family = GaugeMetricFamily(self.name, self.documentation, labels=self.labels)
        for labels, value in self.values.items():
            family.add_metric(labels, value)
        return family


class Total(Gauge):
    """A sum that is counted elsewhere, such as in the store, and only read here."""

    def __init__(self, name: str, documentation: str, labels: Sequence[str] = ()) -> None:
        super().__init__(name, documentation, labels, merge=max)

    def collect(self) -> Metric:
        family = CounterMetricFamily(self.name, self.documentation, labels=self.labels)
        for labels, value in self.values.items():
            family.add_metric(labels, value)
        return family


class Histogram:
    """Observations counted in buckets, by label values."""

    lasting = True

    def __init__(
        self, name: str, documentation: str, labels: Sequence[str] = (), *, buckets: Sequence[float]
    ) -> None:
        self.name, self.documentation, self.labels = name, documentation, labels
        self.bounds = tuple(buckets)
        # Counts per bucket, the last one without a bound, and behind them the sum of all values.
        self.values: defaultdict[Labels, list[float]] = defaultdict(self._empty)
        if not labels:
            self.values[()] = self._empty()

    def observe(self, value: float, *labels: str) -> None:
        """Count a value in the series of these label values."""
        series = self.values[labels]
        series[bisect_left(self.bounds, value)] += 1
        series[-1] += value

    def absorb(self, labels: Labels, value: Sequence[float]) -> None:
        """Take in what another process observed."""
        series = self.values[labels]
        series[:] = [ours + theirs for ours, theirs in zip(series, value, strict=True)]

    def collect(self) -> Metric:
        family = HistogramMetricFamily(self.name, self.documentation, labels=self.labels)
        names = [*(str(float(bound)) for bound in self.bounds), "+Inf"]
        for labels, (*counts, total) in self.values.items():
            cumulated = list(zip(names, accumulate(counts), strict=True))
            family.add_metric(labels, cumulated, total)
        return family

    def _empty(self) -> list[float]:
        return [0.0] * (len(self.bounds) + 2)


class Metrics(Collector):
    """Everything that `/metrics` shows."""

    def __init__(self) -> None:
        self._all: list[Family] = []
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def add(self, made: Family) -> None:
        """Show a metric of another kind as well."""
        self._all.append(made)

    def counter(self, name: str, documentation: str, labels: Sequence[str] = ()) -> Counter:
        made = Counter(name, documentation, labels)
        self._all.append(made)
        return made

    def gauge(
        self,
        name: str,
        documentation: str,
        labels: Sequence[str] = (),
        *,
        merge: Callable[[float, float], float],
    ) -> Gauge:
        made = Gauge(name, documentation, labels, merge=merge)
        self._all.append(made)
        return made

    def total(self, name: str, documentation: str, labels: Sequence[str] = ()) -> Total:
        made = Total(name, documentation, labels)
        self._all.append(made)
        return made

    def histogram(
        self, name: str, documentation: str, labels: Sequence[str] = (), *, buckets: Sequence[float]
    ) -> Histogram:
        made = Histogram(name, documentation, labels, buckets=buckets)
        self._all.append(made)
        return made

    def series(self) -> Series:
        """Everything as of now, for another process."""
        return {metric.name: list(metric.values.items()) for metric in self._all}

    def absorb(self, series: Series, *, gauges: bool) -> None:
        """Add another process's series to these; its gauges only if they are of now."""
        for metric in self._all:
            if gauges or metric.lasting:
                for labels, value in series.get(metric.name, ()):
                    metric.absorb(tuple(labels), value)

    def collect(self) -> Iterator[Metric]:
        for metric in self._all:
            yield metric.collect()

    def render(self) -> bytes:
        """The text exposition format."""
        return generate_latest(self._registry)
