"""The gauge `turnout_drift`: how far the last queries are from those the router was fitted on."""

from collections.abc import Sequence

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from gateway.metrics import Labels
from router.decision import Decision
from router.reference import Signal, Window, stability_index
from router.router import Router

# Of fewer queries the index is noise: of five hundred it is below 0.05 where nothing changed.
FEWEST = 500


class DriftGauge:
    """Counts by signal and bin over the last queries; the index is made when somebody reads it, of
    the counts of all workers together."""

    lasting = False

    def __init__(self, name: str, documentation: str) -> None:
        self.name, self.documentation, self.labels = name, documentation, ("signal",)
        # Counts now and at the fit.
        self.values: dict[Labels, tuple[Sequence[int], Sequence[int]]] = {}
        self._router: Router | None = None
        self._window: Window | None = None

    def follow(self, router: Router | None) -> None:
        """Compare with what `router` was fitted on, from now on; the same one changes nothing."""
        if router is self._router:
            return
        self._router, self._window, self.values = router, None, {}
        if router is not None and router.reference is not None:
            self._window = Window(router.reference)
            bins = router.reference.signals
            self.values = {(s,): (self._window.counts[s], bins[s].counts) for s in Signal}

    def observe(self, decision: Decision) -> None:
        """Count a decision, if it is of the router that is followed."""
        if (
            self._window is not None
            and self._router is not None
            and decision.impression is not None
            and decision.router_version == self._router.version
        ):
            self._window.add(decision.impression)

    def absorb(self, labels: Labels, value: tuple[Sequence[int], Sequence[int]]) -> None:
        """Take in another worker's counts; one that still follows another router is left out."""
        now, then = value
        ours, reference = self.values.get(labels, ([0] * len(now), then))
        if list(reference) == list(then):
            self.values[labels] = ([a + b for a, b in zip(ours, now, strict=True)], then)

    def collect(self) -> Metric:
        family = GaugeMetricFamily(self.name, self.documentation, labels=self.labels)
        for labels, (now, then) in self.values.items():
            if sum(now) >= FEWEST:
                family.add_metric(labels, stability_index(now, then))
        return family
