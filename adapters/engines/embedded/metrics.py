"""Prometheus metrics of the engine, under vLLM's names where the quantity is the same."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

_LATENCY = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80)
_TOKENS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)


@dataclass(frozen=True, slots=True)
class Load:
    """What is computed and what waits, at the end of a step."""

    running: int = 0
    waiting: int = 0
    running_adapters: tuple[str, ...] = ()
    waiting_adapters: tuple[str, ...] = ()


class Metrics(Collector):
    """Counts of one engine; `load` is replaced by the compute thread and read at each scrape."""

    def __init__(self, model_name: str, max_loras: int) -> None:
        self.load = Load()
        self._labels = {"model_name": model_name, "engine": "0"}
        self._max_loras = max_loras
        self._registry = CollectorRegistry()
        self._registry.register(self)
        self._prompt_tokens = self._counter("prompt_tokens", "Number of prefill tokens processed.")
        self._generation_tokens = self._counter(
            "generation_tokens", "Number of generation tokens processed."
        )
        self._success = Counter(
            "vllm:request_success",
            "Count of successfully processed requests.",
            [*self._labels, "finished_reason"],
            registry=self._registry,
        )
        seconds = "in seconds."
        self._first_token = self._histogram(
            "time_to_first_token_seconds", f"Time to first token {seconds}", _LATENCY
        )
        self._latency = self._histogram(
            "e2e_request_latency_seconds", f"Request latency {seconds}", _LATENCY
        )
        self._request_prompt = self._histogram(
            "request_prompt_tokens", "Prompt tokens of a request.", _TOKENS
        )
        self._request_answer = self._histogram(
            "request_generation_tokens", "Answer tokens of a request.", _TOKENS
        )

    def token(self, answered: int, prompt: int, seconds: float) -> None:
        """A sequence got its token number `answered`, `seconds` after it was submitted."""
        self._generation_tokens.inc()
        if answered == 1:
            self._prompt_tokens.inc(prompt)
            self._first_token.observe(seconds)

    def finished(self, reason: str, prompt: int, answer: int, seconds: float | None = None) -> None:
        """A sequence ended; `seconds` is None when it was given up."""
        self._success.labels(**self._labels, finished_reason=reason).inc()
        self._request_prompt.observe(prompt)
        self._request_answer.observe(answer)
        if seconds is not None:
            self._latency.observe(seconds)

    def render(self) -> bytes:
        """The text exposition."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """The gauges, from the latest load."""
        load, values = self.load, list(self._labels.values())
        for name, documentation, value in (
            (
                "num_requests_running",
                "Number of requests in model execution batches.",
                load.running,
            ),
            ("num_requests_waiting", "Number of requests waiting to be processed.", load.waiting),
        ):
            gauge = GaugeMetricFamily(f"vllm:{name}", documentation, labels=list(self._labels))
            gauge.add_metric(values, value)
            yield gauge
        adapters = GaugeMetricFamily(
            "vllm:lora_requests_info",
            "Running stats on lora requests.",
            labels=["max_lora", "waiting_lora_adapters", "running_lora_adapters"],
        )
        names = (",".join(load.waiting_adapters), ",".join(load.running_adapters))
        adapters.add_metric([str(self._max_loras), *names], time.time())
        yield adapters

    def _counter(self, name: str, documentation: str) -> Counter:
        counter = Counter(
            f"vllm:{name}", documentation, list(self._labels), registry=self._registry
        )
        return counter.labels(**self._labels)

    def _histogram(self, name: str, documentation: str, buckets: tuple[float, ...]) -> Histogram:
        histogram = Histogram(
            f"vllm:{name}",
            documentation,
            list(self._labels),
            registry=self._registry,
            buckets=buckets,
        )
        return histogram.labels(**self._labels)
