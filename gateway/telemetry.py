"""The Prometheus metrics of CONTRACT section 10, in one registry per application."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_FINE_SECONDS = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5)
_UNIT = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)
_MOST_FEEDBACK_NAMES = 100


class Telemetry:
    """Counters and histograms, named as in the contract. Labels are bounded: configured names and
    closed lists."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        self._registry = registry
        self._feedback_names: set[str] = set()
        self.requests = Counter(
            "turnout_requests_total",
            "Requests by how they ended.",
            ("endpoint", "target", "model", "outcome"),
            registry=registry,
        )
        self.request_seconds = Histogram(
            "turnout_request_seconds",
            "From the first byte in to the last byte out.",
            ("endpoint", "target"),
            buckets=_SECONDS,
            registry=registry,
        )
        self.first_token_seconds = Histogram(
            "turnout_time_to_first_token_seconds",
            "Streams: from the first byte in to the first event out.",
            ("target",),
            buckets=_SECONDS,
            registry=registry,
        )
        self.overhead_seconds = Histogram(
            "turnout_overhead_seconds",
            "Time the gateway itself took, by component.",
            ("component",),
            buckets=_FINE_SECONDS,
            registry=registry,
        )
        self.tokens = Counter(
            "turnout_tokens_total", "Tokens.", ("direction", "target", "model"), registry=registry
        )
        self.cost = Counter(
            "turnout_cost_total",
            "Cost by configured prices.",
            ("target", "model"),
            registry=registry,
        )
        self.cost_saved = Counter(
            "turnout_cost_saved_total",
            "Cost that the dearest general tier would have added.",
            registry=registry,
        )
        self.errors = Counter(
            "turnout_errors_total", "Errors by who has to act.", ("error_type",), registry=registry
        )
        self.decisions = Counter(
            "turnout_decisions_total", "Routing decisions.", ("target", "reason"), registry=registry
        )
        self.route_confidence = Histogram(
            "turnout_route_confidence",
            "Calibrated probability of the best label.",
            ("target",),
            buckets=_UNIT,
            registry=registry,
        )
        self.assignments = Counter(
            "turnout_assignments_total",
            "Requests assigned to experiment arms.",
            ("experiment", "arm"),
            registry=registry,
        )
        self.feedback = Counter(
            "turnout_feedback_total",
            "Feedback by metric and arm.",
            ("metric", "arm"),
            registry=registry,
        )
        self.adapter_replicas = Gauge(
            "turnout_adapter_replicas",
            "Replicas on which a version is in a state.",
            ("version", "state"),
            registry=registry,
        )
        self.engine_up = Gauge(
            "turnout_engine_up",
            "Replicas of an engine that answer.",
            ("engine",),
            registry=registry,
        )
        self.journal_pending = Gauge(
            "turnout_journal_pending", "Records the store does not have yet.", registry=registry
        )
        self.journal_dropped = Counter(
            "turnout_journal_dropped_total",
            "Records the journal could not take.",
            registry=registry,
        )
        self.retrieval_seconds = Histogram(
            "turnout_retrieval_seconds", "Search time.", buckets=_FINE_SECONDS, registry=registry
        )
        self.retrieval_hits = Histogram(
            "turnout_retrieval_hits",
            "Passages found per search.",
            buckets=(0, 1, 2, 3, 4, 6, 8, 12, 20),
            registry=registry,
        )

    def count_feedback(self, metric: str, arm: str) -> None:
        """Count one feedback; names come from callers, so after the first hundred they share a
        label."""
        if metric not in self._feedback_names and len(self._feedback_names) >= _MOST_FEEDBACK_NAMES:
            metric = "other"
        self._feedback_names.add(metric)
        self.feedback.labels(metric, arm).inc()

    def render(self) -> bytes:
        """The text exposition format."""
        return generate_latest(self._registry)
