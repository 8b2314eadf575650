"""What a prompt takes over from another one changes no answer, and need not be computed."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from adapters.engines.embedded.batcher import (
    BASE_MODEL,
    Batcher,
    Completion,
    GenerationRequest,
    generate_all,
)
from adapters.engines.embedded.model import LoadedModel
from adapters.engines.embedded.sampling import SamplingParams

INSTRUCTION = "Answer in one word. Be brief, be exact, and never say what was not asked for. " * 8
QUESTIONS = [
    "What is the capital of France?",
    "What is the capital of Italy?",
    "Why is the sky blue?",
    "What is the capital of France?",
    "Name a colour.",
    "What is the capital of Italy?",
]
ADAPTERS = [BASE_MODEL, "plain", BASE_MODEL, "plain", BASE_MODEL, "some-layers"]
SIX = SamplingParams(max_tokens=6, temperature=0, ignore_eos=True, logprobs=1)
PROMPT = tuple(range(100, 160))


def ask(batcher: Batcher, *asked: tuple[str, str | None]) -> list[Completion]:
    system = {"role": "system", "content": INSTRUCTION}
    requests = [([system, {"role": "user", "content": q}], adapter, SIX) for q, adapter in asked]
    return generate_all(batcher, requests)


def complete(batcher: Batcher, prompt: Sequence[int], adapter: str | None = None) -> list[int]:
    """The answer's tokens, with nobody else in the batch."""
    sequence = batcher.submit(GenerationRequest(tuple(prompt), SIX, adapter))
    while batcher.busy:
        batcher.step()
    return sequence.tokens


def likelihoods(answer: Completion) -> list[float]:
    return [token.logprob for token in answer.logprobs]


def prompt_tokens(steps: list[int], answers: Sequence[Completion]) -> int:
    """Tokens of prompts among those that were computed: each answer token but the last is one."""
    return sum(steps) - sum(answer.completion_tokens - 1 for answer in answers)


@pytest.fixture
def steps(exact: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Tokens of each forward pass, as they come."""
    counted: list[int] = []
    compute = exact.compute

    def counting(tokens: Sequence[int], *others: object) -> object:
        counted.append(len(tokens))
        return compute(tokens, *others)  # type: ignore[arg-type]

    monkeypatch.setattr(exact, "compute", counting)
    return counted


def test_prompts_that_begin_alike_are_computed_once_for_each_adapter(
    exact: LoadedModel, steps: list[int]
) -> None:
    asked = list(zip(QUESTIONS, ADAPTERS, strict=True))
    alone = [ask(Batcher(exact, 1, 512), one)[0] for one in asked]
    apart = prompt_tokens(steps, alone)
    assert apart == sum(answer.prompt_tokens for answer in alone)
    steps.clear()
    # Fewer rows than questions: rows are freed, filled and moved while others take over from them.
    together = ask(Batcher(exact, 3, 512), *asked)
    assert [answer.tokens for answer in together] == [answer.tokens for answer in alone]
    for answer, other in zip(together, alone, strict=True):
        assert likelihoods(answer) == pytest.approx(likelihoods(other), abs=1e-4)
    assert likelihoods(together[0]) != pytest.approx(likelihoods(together[3]), abs=1e-2)
    assert prompt_tokens(steps, together) < 0.7 * apart  # three adapters for six prompts


def test_a_conversation_goes_on_where_it_was(exact: LoadedModel, steps: list[int]) -> None:
    batcher = Batcher(exact, 2, 256)
    answer = complete(batcher, PROMPT)
    assert steps == [60, 1, 1, 1, 1, 1]
    longer = (*PROMPT, *answer, 7, 8, 9)
    steps.clear()
    further = complete(batcher, longer)
    assert steps[0] == 4  # the last token of the answer was chosen, not computed
    assert further == complete(Batcher(exact, 1, 256), longer)


def test_the_same_prompt_again_costs_its_last_token(exact: LoadedModel, steps: list[int]) -> None:
    batcher = Batcher(exact, 2, 256)
    first = batcher.submit(GenerationRequest(PROMPT, SIX))
    batcher.step()
    again = batcher.submit(GenerationRequest(PROMPT, SIX))
    batcher.step()
    assert steps == [60, 2]
    while batcher.busy:
        batcher.step()
    assert again.tokens == first.tokens
    steps.clear()
    assert complete(batcher, PROMPT) == first.tokens
    assert steps[0] == 1


def test_a_long_prompt_is_taken_over_as_far_as_it_is_computed(
    exact: LoadedModel, steps: list[int]
) -> None:
    prompt = tuple(range(100, 700))
    expected = complete(Batcher(exact, 1, 1024), (*prompt, 7))
    steps.clear()
    batcher = Batcher(exact, 2, 1024)
    batcher.submit(GenerationRequest(prompt, SIX))
    second = batcher.submit(GenerationRequest((*prompt, 7), SIX))
    while batcher.busy:
        batcher.step()
    assert steps[:4] == [256, 256, 88 + 89, 2]
    assert second.tokens == expected


def test_another_adapter_takes_over_nothing(
    exact: LoadedModel, adapters: dict[str, Path], steps: list[int]
) -> None:
    batcher = Batcher(exact, 2, 256)
    complete(batcher, PROMPT, "plain")
    steps.clear()
    expected = complete(Batcher(exact, 1, 256), PROMPT)
    assert complete(batcher, PROMPT) == expected
    exact.load_adapter("plain", adapters["plain"])  # the same name, perhaps other weights
    complete(batcher, PROMPT, "plain")
    assert [count for count in steps if count > 1] == [60, 60, 60]
    exact.unload_adapter("plain")
    assert complete(batcher, PROMPT) == expected  # not what an adapter that is gone has left
    exact.load_adapter("plain", adapters["plain"])


def test_short_beginnings_are_computed_anew(exact: LoadedModel, steps: list[int]) -> None:
    batcher = Batcher(exact, 2, 256)
    complete(batcher, (*PROMPT[:15], 7, 8))
    steps.clear()
    complete(batcher, (*PROMPT[:15], 9))
    assert steps[0] == 16


def test_what_a_failed_step_has_left_half_done_is_not_taken_over(
    exact: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    batcher = Batcher(exact, 2, 256)
    complete(batcher, PROMPT)
    other = (*PROMPT[:30], *range(300, 330))
    expected = complete(Batcher(exact, 1, 256), other)
    with monkeypatch.context() as broken:
        broken.setattr(exact, "compute", lambda *_: 1 / 0)
        failed = batcher.submit(GenerationRequest(other, SIX))
        with pytest.raises(ZeroDivisionError):
            batcher.step()
        batcher.cancel(failed)
    assert [len(held.tokens) for held in batcher._cache.held] == [30, 0]
    assert complete(batcher, other) == expected
