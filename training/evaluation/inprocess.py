"""Answers from a base model and its adapters in this process, batched by the embedded engine."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy

from adapters.engines.embedded.batcher import Batcher, generate_all
from adapters.engines.embedded.cache import StepLayout, stretch
from adapters.engines.embedded.errors import EngineFailure, RequestRefused
from adapters.engines.embedded.model import LoadedModel
from adapters.engines.embedded.sampling import SamplingParams
from training.errors import RunFailed
from training.evaluation.evaluate import Answers, Question
from training.evaluation.likelihood import Loss
from training.evaluation.speed import Meter
from training.learning.encoding import encode
from training.rows import Row

BASE = "base"
_MOST_TOGETHER = 32
# Positions of cached keys and values at a time: about 750 MB for the default model.
_CACHE_TOKENS = 32_768


class InProcess:
    """A loaded base model; `answers` gives the function that asks it, adapter or not."""

    def __init__(self, base: Path) -> None:
        try:
            self._model = LoadedModel.load(base)
        except EngineFailure as exc:
            raise RunFailed(f"the base model cannot be evaluated: {exc}") from exc

    def load(self, name: str, folder: Path) -> None:
        """Add an adapter; raises RunFailed when the engine refuses it."""
        try:
            self._model.load_adapter(name, folder)
        except EngineFailure as exc:
            raise RunFailed(f"the engine refuses the adapter {name}: {exc}") from exc

    def answers(self, name: str, meter: Meter | None = None) -> Answers:
        """Greedy answers of `BASE` or a loaded adapter; None for a prompt that does not fit."""
        adapter = None if name == BASE else name

        def ask(
            questions: Sequence[Question], on_progress: Callable[[int, int], None]
        ) -> list[str | None]:
            lengths = [self._length(question) for question in questions]
            fitting = [i for i, n in enumerate(lengths) if n is not None]
            longest = max((n for n in lengths if n is not None), default=1)
            together = max(1, min(_MOST_TOGETHER, _CACHE_TOKENS // longest))
            batcher = Batcher(self._model, max_batch_size=together, max_model_len=longest)
            asked = [
                (q.messages, adapter, SamplingParams(max_tokens=q.max_tokens, temperature=0.0))
                for q in (questions[i] for i in fitting)
            ]
            texts: list[str | None] = [None] * len(questions)
            began = time.monotonic()
            answered = generate_all(batcher, asked, on_progress)
            for index, completion in zip(fitting, answered, strict=True):
                texts[index] = completion.text
            if meter is not None:
                meter.seconds += time.monotonic() - began
                meter.tokens += [completion.completion_tokens for completion in answered]
                meter.asked += [completion.prompt_tokens for completion in answered]
            return texts

        return ask

    def losses(
        self,
        name: str,
        rows: Sequence[Row],
        on_progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> list[Loss | None]:
        """How unlikely `BASE` or a loaded adapter holds the expected answers to be, end of turn
        included. Too long a prompt is cut from its middle; None for too long an answer."""
        found = []
        for done, row in enumerate(rows, start=1):
            found.append(self._loss(name, row))
            on_progress(done, len(rows))
        return found

    def _loss(self, name: str, row: Row) -> Loss | None:
        encoded = encode(row, self._model.tokenizer, self._model.max_context)
        if encoded is None:
            return None
        tokens, at = encoded.input_ids, encoded.answer_at
        length = len(tokens)
        layout = StepLayout(
            self._model.new_cache(1, length),
            torch.arange(length),
            0,
            0,
            None,
            (stretch(0, 0, length, self._model.dtype),),
        )
        # What is said of a token stands at the position before it.
        before = list(range(at - 1, length - 1))
        adapter = None if name == BASE else self._model.adapter(name)
        logits = self._model.compute(tokens, range(length), [adapter] * length, layout, before)
        total = cross_entropy(logits, torch.tensor(tokens[at:]), reduction="sum")
        return Loss(float(total), length - at)

    def _length(self, question: Question) -> int | None:
        """Tokens of prompt and answer; None when the model cannot take the prompt."""
        try:
            text = self._model.render_chat(question.messages)
        except RequestRefused:
            return None
        length = len(self._model.encode(text, add_special_tokens=False)) + question.max_tokens + 1
        return length if length <= self._model.max_context else None
