"""The metrics of CONTRACT section 10, one set per application."""

from operator import add

from gateway.drift import DriftGauge
from gateway.metrics import Metrics, Series

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_FINE_SECONDS = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5)
_UNIT = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)
_MOST_FEEDBACK_NAMES = 100


class Telemetry:
    """Counters and histograms, named as in the contract. Labels are bounded: configured names and
    closed lists."""

    def __init__(self) -> None:
        metrics = Metrics()
        self._metrics = metrics
        self._feedback_names: set[str] = set()
        self.requests = metrics.counter(
            "turnout_requests",
            "Requests by how they ended.",
            ("endpoint", "target", "model", "outcome"),
        )
        self.request_seconds = metrics.histogram(
            "turnout_request_seconds",
            "From the first byte in to the last byte out.",
            ("endpoint", "target"),
            buckets=_SECONDS,
        )
        self.first_token_seconds = metrics.histogram(
            "turnout_time_to_first_token_seconds",
            "Streams: from the first byte in to the first event out.",
            ("target",),
            buckets=_SECONDS,
        )
        self.overhead_seconds = metrics.histogram(
            "turnout_overhead_seconds",
            "Time the gateway itself took, by component.",
            ("component",),
            buckets=_FINE_SECONDS,
        )
        self.tokens = metrics.counter("turnout_tokens", "Tokens.", ("direction", "target", "model"))
        self.cost = metrics.counter(
            "turnout_cost",
            "Cost by configured prices.",
            ("target", "model"),
        )
        self.cost_saved = metrics.counter(
            "turnout_cost_saved",
            "Cost that the dearest general tier would have added.",
        )
        self.errors = metrics.counter(
            "turnout_errors", "Errors by who has to act.", ("error_type",)
        )
        self.decisions = metrics.counter(
            "turnout_decisions", "Routing decisions.", ("target", "reason")
        )
        self.second_stage = metrics.counter(
            "turnout_second_stage",
            "Queries the first stage was unsure about: asked of the second, skipped, failed there.",
            ("outcome",),
        )
        self.route_confidence = metrics.histogram(
            "turnout_route_confidence",
            "Calibrated probability of the best label.",
            ("target",),
            buckets=_UNIT,
        )
        self.drift = DriftGauge(
            "turnout_drift",
            "Population stability index of the last queries against those of the fit.",
        )
        metrics.add(self.drift)
        self.assignments = metrics.counter(
            "turnout_assignments",
            "Requests assigned to experiment arms.",
            ("experiment", "arm"),
        )
        self.shadow_requests = metrics.counter(
            "turnout_shadow_requests",
            "What shadow arms were to answer, unseen by anyone, by how that ended.",
            ("experiment", "arm", "outcome"),
        )
        self.rollout_stage = metrics.gauge(
            "turnout_rollout_stage",
            "Percent of an experiment's traffic for the arms under test.",
            ("experiment",),
            merge=max,
        )
        self.feedback = metrics.counter(
            "turnout_feedback",
            "Feedback by metric and arm.",
            ("metric", "arm"),
        )
        self.adapter_replicas = metrics.gauge(
            "turnout_adapter_replicas",
            "Replicas on which a version is in a state.",
            ("version", "state"),
            merge=max,
        )
        self.engine_up = metrics.gauge(
            "turnout_engine_up",
            "Replicas of an engine that answer.",
            ("engine",),
            merge=max,
        )
        self.journal_pending = metrics.gauge(
            "turnout_journal_pending", "Records the store does not have yet.", merge=add
        )
        self.journal_dropped = metrics.counter(
            "turnout_journal_dropped",
            "Records the journal could not take.",
        )
        self.retrieval_seconds = metrics.histogram(
            "turnout_retrieval_seconds", "Search time.", buckets=_FINE_SECONDS
        )
        self.retrieval_hits = metrics.histogram(
            "turnout_retrieval_hits",
            "Passages found per search.",
            buckets=(0, 1, 2, 3, 4, 6, 8, 12, 20),
        )

        self.training_runs = metrics.total(
            "turnout_training_runs",
            "Training runs that made an adapter version, by what the gate said of it.",
            ("domain", "verdict"),
        )

    def count_feedback(self, metric: str, arm: str) -> None:
        """Count one feedback; names come from callers, so after the first hundred they share a
        label."""
        if metric not in self._feedback_names and len(self._feedback_names) >= _MOST_FEEDBACK_NAMES:
            metric = "other"
        self._feedback_names.add(metric)
        self.feedback.add(1, metric, arm)

    def series(self) -> Series:
        """Everything as of now, for another process."""
        return self._metrics.series()

    def absorb(self, series: Series, *, gauges: bool) -> None:
        """Add another process's series to these; its gauges only if they are of now."""
        self._metrics.absorb(series, gauges=gauges)
        self._feedback_names.update(metric for metric, _ in self.feedback.values)

    def render(self) -> bytes:
        """The text exposition format."""
        return self._metrics.render()
