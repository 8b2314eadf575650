"""Continuous batching: sequences join and leave between steps, and each step is one forward pass
over all of them.

A step computes one token for every sequence that is answering, and a bounded stretch of the prompts
that wait, so that a long prompt slows running answers but never stops them. Nothing here is
thread-safe: one thread owns a batcher.
"""

from collections import deque
from collections.abc import Callable
from collections.abc import Sequence as Items

import torch

from adapters.engines.embedded.errors import ContextOverflow
from adapters.engines.embedded.model import LoadedModel, Message
from adapters.engines.embedded.sampling import SamplingParams
from adapters.engines.embedded.sequence import (
    BASE_MODEL,
    Completion,
    FinishReason,
    GenerationRequest,
    Sequence,
)
from adapters.engines.embedded.step import plan

__all__ = [
    "BASE_MODEL",
    "Batcher",
    "Completion",
    "FinishReason",
    "GenerationRequest",
    "SamplingParams",
    "Sequence",
    "generate_all",
]


class Batcher:
    """Runs sequences on a model: at most `max_batch_size` at once, with `max_loras` adapters."""

    def __init__(
        self,
        model: LoadedModel,
        max_batch_size: int = 8,
        max_model_len: int | None = None,
        max_loras: int = 8,
    ) -> None:
        self.model = model
        self.max_model_len = min(max_model_len or model.max_context, model.max_context)
        self.max_batch_size = max_batch_size
        self.max_loras = max_loras
        self.waiting: deque[Sequence] = deque()
        # Those that answer come first: row i of the cache belongs to running[i].
        self.running: list[Sequence] = []
        self._cache = model.new_cache(max_batch_size, self.max_model_len)

    @property
    def busy(self) -> bool:
        """Whether a step would compute anything."""
        return bool(self.waiting or self.running)

    def submit(self, request: GenerationRequest) -> Sequence:
        """Queue a request. Raises ContextOverflow (prompt too long) or AdapterNotFound."""
        sequence = self.prepare(request)
        self.enqueue(sequence)
        return sequence

    def prepare(self, request: GenerationRequest) -> Sequence:
        """Check a request, without queueing it; the only method that any thread may call."""
        length = len(request.prompt)
        if length >= self.max_model_len:
            raise ContextOverflow(
                f"This model's maximum context length is {self.max_model_len} tokens. However, "
                f"your prompt contains {length} input tokens, which exceeds this limit "
                "even without any output tokens. "
                "Please reduce the length of the input prompt.",
                "input_tokens",
            )
        wanted = request.params.max_tokens
        if wanted is not None and wanted > self.max_model_len:
            raise ContextOverflow(
                f"max_tokens={wanted} cannot be greater than max_model_len={self.max_model_len}. "
                "Please request fewer output tokens.",
                "max_tokens",
            )
        room = self.max_model_len - length
        limit = min(wanted or room, room)
        adapter = None if request.adapter is BASE_MODEL else self.model.adapter(request.adapter)
        return Sequence(request, adapter, limit, self.model)

    def enqueue(self, sequence: Sequence) -> None:
        """Let a prepared sequence wait for its turn."""
        self.waiting.append(sequence)

    def cancel(self, sequence: Sequence) -> None:
        """Give a sequence up: it is not computed any further. Harmless when it has finished."""
        if sequence.finish_reason is not None:
            return
        sequence.finish_reason = FinishReason.ABORT
        if sequence in self.waiting:
            self.waiting.remove(sequence)
        else:
            self._leave(sequence)

    def step(self) -> list[Sequence]:
        """One forward pass; returns the sequences that got a token, finished ones included."""
        self._admit()
        if not self.running:
            return []
        progressed = self._compute()
        for sequence in progressed:
            if sequence.finish_reason is not None:
                self._leave(sequence)
        return progressed

    def _admit(self) -> None:
        """Move waiting sequences to free rows, in order; those whose adapter finds no room wait."""
        adapters = {sequence.adapter for sequence in self.running} - {None}
        for sequence in list(self.waiting):
            if len(self.running) >= self.max_batch_size:
                return
            if sequence.adapter is None or len(adapters | {sequence.adapter}) <= self.max_loras:
                adapters |= {sequence.adapter} - {None}
                self.waiting.remove(sequence)
                self.running.append(sequence)

    @torch.inference_mode()
    def _compute(self) -> list[Sequence]:
        """Compute and choose; a sequence whose prompt is now complete gets its first token."""
        step = plan(self.running, self._cache, self.model.dtype)
        adapters = [self.running[row].adapter for row in step.rows]
        logits = self.model.compute(step.tokens, step.positions, adapters, step.layout, step.wanted)
        for row, token in zip(step.rows, step.tokens, strict=True):
            self.running[row].computed += 1
            self._cache.held[row].tokens.append(token)
        # numpy's arg-max is twenty times faster than torch's on a processor
        best = logits.numpy().argmax(-1).tolist()
        progressed = []
        for sequence, row, token in zip(self.running, logits, best, strict=False):
            if not sequence.answering:
                continue
            if sequence.params.plain_greedy:
                sequence.accept(token, None)
            else:
                sequence.accept(*sequence.sampler.choose(row, len(sequence.tokens)))
            progressed.append(sequence)
        return progressed

    def _leave(self, sequence: Sequence) -> None:
        """Free a row: the last answering row fills the hole, and prompts behind it close up."""
        hole = self.running.index(sequence)
        last = sum(other.answering for other in self.running) - 1
        if hole < last:
            self._cache.copy(last, hole, self.running[last].computed)
            self.running[hole] = self.running[last]
            hole = last
        for row in range(hole + 1, len(self.running)):
            if self.running[row].computed:
                self._cache.copy(row, row - 1, self.running[row].computed)
        del self.running[hole]


def generate_all(
    batcher: Batcher,
    requests: Items[tuple[Items[Message], str | None, SamplingParams]],
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Completion]:
    """Answer conversations in process: `(messages, adapter name or None, params)` each, results in
    the same order.

    `on_progress` is called with the numbers of finished and of all requests, after each step that
    finished some.
    """
    sequences = []
    for messages, adapter, params in requests:
        prompt = batcher.model.encode(batcher.model.render_chat(messages), add_special_tokens=False)
        sequences.append(batcher.submit(GenerationRequest(tuple(prompt), params, adapter)))
    finished = 0
    while batcher.busy:
        newly = sum(sequence.finish_reason is not None for sequence in batcher.step())
        finished += newly
        if newly and on_progress is not None:
            on_progress(finished, len(sequences))
    return [sequence.completion() for sequence in sequences]
