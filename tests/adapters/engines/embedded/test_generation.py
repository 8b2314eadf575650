"""The batcher against transformers and PEFT: same weights, same greedy answers."""

import pytest
import torch
from peft import PeftModel

from adapters.engines.embedded.batcher import (
    BASE_MODEL,
    Batcher,
    Completion,
    FinishReason,
    GenerationRequest,
    generate_all,
)
from adapters.engines.embedded.errors import AdapterNotFound, ContextOverflow
from adapters.engines.embedded.model import LoadedModel
from adapters.engines.embedded.sampling import SamplingParams

GREEDY = SamplingParams(max_tokens=16, temperature=0)
QUESTIONS = [
    "What is the capital of France?",
    "Write a haiku about the sea.",
    "Name three colours. " * 70,  # longer than one step's share of prompt tokens
    "Why is the sky blue?",
]


def ask(
    batcher: Batcher, *questions: tuple[str, str | None], params: SamplingParams = GREEDY
) -> list[Completion]:
    requests = [([{"role": "user", "content": q}], adapter, params) for q, adapter in questions]
    return generate_all(batcher, requests)


def expected(
    reference: PeftModel, model: LoadedModel, question: str, adapter: str | None
) -> tuple[int, ...]:
    text = model.render_chat([{"role": "user", "content": question}])
    prompt = torch.tensor([model.encode(text, add_special_tokens=False)])
    reference.set_adapter(adapter or "plain")
    options = {"max_new_tokens": GREEDY.max_tokens, "do_sample": False}
    if adapter is BASE_MODEL:
        with reference.disable_adapter():
            answer = reference.generate(input_ids=prompt, **options)
    else:
        answer = reference.generate(input_ids=prompt, **options)
    return tuple(answer[0, prompt.shape[1] :].tolist())


def test_mixed_batch_gives_what_generate_gives_one_by_one(
    reference: PeftModel, exact: LoadedModel
) -> None:
    adapters = [BASE_MODEL, "plain", "rank-stabilised", "some-layers"]
    # Three rows for four requests: rows are freed, filled and moved while others answer.
    asked = list(zip(QUESTIONS, adapters, strict=True)) + [(QUESTIONS[0], "plain")]
    answers = ask(Batcher(exact, 3, 1024), *asked)
    for (question, adapter), answer in zip(asked, answers, strict=True):
        assert answer.tokens == expected(reference, exact, question, adapter), adapter


def test_batched_bfloat16_answers_follow_the_most_likely_tokens(
    batcher: Batcher, exact: LoadedModel
) -> None:
    # Rounding may break a tie the other way, but a chosen token must be nearly the best one.
    near = SamplingParams(max_tokens=12, temperature=0, logprobs=1)
    for answer in ask(batcher, *[(q, BASE_MODEL) for q in QUESTIONS], params=near):
        assert all(at.logprob == pytest.approx(at.top[0][1], abs=1e-6) for at in answer.logprobs)
    same = ask(batcher, (QUESTIONS[0], BASE_MODEL), (QUESTIONS[3], BASE_MODEL))
    assert same[0].text == ask(Batcher(exact, 1, 512), (QUESTIONS[0], BASE_MODEL))[0].text


def test_usage_and_reasons_are_honest(batcher: Batcher) -> None:
    stopped = ask(batcher, (QUESTIONS[0], BASE_MODEL))[0]
    assert stopped.text == "The capital of France is Paris."
    assert (stopped.finish_reason, stopped.stop_reason) == (FinishReason.STOP, None)
    assert (stopped.prompt_tokens, stopped.completion_tokens) == (37, 8)  # with the end token
    cut = ask(batcher, (QUESTIONS[0], None), params=SamplingParams(max_tokens=3, temperature=0))[0]
    assert (cut.text, cut.finish_reason) == ("The capital of", FinishReason.LENGTH)


def test_stop_string_ends_the_text_before_it(batcher: Batcher) -> None:
    params = SamplingParams(max_tokens=20, temperature=0, stop=("is Par", "nothing"))
    answer = ask(batcher, (QUESTIONS[0], BASE_MODEL), params=params)[0]
    assert answer.text == "The capital of France "
    assert (answer.finish_reason, answer.stop_reason) == (FinishReason.STOP, "is Par")


def test_minimum_length_and_ignored_end(batcher: Batcher) -> None:
    longer = SamplingParams(max_tokens=14, min_tokens=12, temperature=0)
    assert ask(batcher, (QUESTIONS[0], None), params=longer)[0].completion_tokens >= 12
    endless = SamplingParams(max_tokens=14, ignore_eos=True, temperature=0)
    assert ask(batcher, (QUESTIONS[0], None), params=endless)[0].completion_tokens == 14


def test_seed_decides_in_any_company(exact: LoadedModel) -> None:
    params = SamplingParams(max_tokens=10, temperature=1.2, seed=7)
    alone = ask(Batcher(exact, 1, 256), (QUESTIONS[1], BASE_MODEL), params=params)[0]
    company = ask(
        Batcher(exact, 3, 256), *[(q, None) for q in (QUESTIONS[0], QUESTIONS[1])], params=params
    )
    assert company[1].tokens == alone.tokens
    other = SamplingParams(max_tokens=10, temperature=1.2, seed=8)
    assert ask(Batcher(exact, 1, 256), (QUESTIONS[1], None), params=other)[0].tokens != alone.tokens


def test_context_is_a_limit_for_prompt_and_answer(batcher: Batcher) -> None:
    with pytest.raises(ContextOverflow, match="maximum context length is 1024 tokens"):
        batcher.submit(GenerationRequest((5,) * 1024))
    with pytest.raises(ContextOverflow, match="max_tokens=2000 cannot be greater than"):
        batcher.submit(GenerationRequest((5,), SamplingParams(max_tokens=2000)))
    small = Batcher(batcher.model, 1, 40)
    ignoring = SamplingParams(temperature=0, ignore_eos=True)
    answer = ask(small, (QUESTIONS[0], BASE_MODEL), params=ignoring)[0]
    assert (answer.completion_tokens, answer.finish_reason) == (3, FinishReason.LENGTH)


def test_cancelled_sequence_leaves_and_the_others_are_unharmed(exact: LoadedModel) -> None:
    batcher = Batcher(exact, 3, 512)
    alone = ask(batcher, (QUESTIONS[1], BASE_MODEL))[0]
    prompt = exact.encode(exact.render_chat([{"role": "user", "content": QUESTIONS[1]}]))
    first, kept, waiting = (
        batcher.submit(GenerationRequest(tuple(prompt), GREEDY, adapter))
        for adapter in ("plain", BASE_MODEL, "some-layers")
    )
    for _ in range(4):
        batcher.step()
    batcher.cancel(first)
    batcher.cancel(waiting)
    batcher.cancel(waiting)
    assert batcher.running == [kept]
    while batcher.busy:
        assert batcher.step() == [kept]
    assert kept.completion().tokens == alone.tokens
    assert first.completion().finish_reason is FinishReason.ABORT


def test_adapters_beyond_the_limit_wait(exact: LoadedModel) -> None:
    batcher = Batcher(exact, 4, 256, max_loras=1)
    names = ("plain", "some-layers", "plain", BASE_MODEL)
    sequences = [batcher.submit(GenerationRequest((5, 6), GREEDY, name)) for name in names]
    batcher.step()
    assert list(batcher.waiting) == [sequences[1]]
    while batcher.busy:
        batcher.step()
    assert all(sequence.finish_reason is not None for sequence in sequences)


def test_running_sequence_keeps_an_unloaded_adapter(base_model: object, exact: LoadedModel) -> None:
    batcher = Batcher(exact, 2, 256)
    path = exact.adapters["plain"]
    before = ask(batcher, (QUESTIONS[3], "plain"))[0]
    prompt = exact.encode(exact.render_chat([{"role": "user", "content": QUESTIONS[3]}]))
    running = batcher.submit(GenerationRequest(tuple(prompt), GREEDY, "plain"))
    batcher.step()
    exact.unload_adapter("plain")
    with pytest.raises(AdapterNotFound):
        batcher.submit(GenerationRequest((5,), GREEDY, "plain"))
    while batcher.busy:
        batcher.step()
    exact.load_adapter("plain", path)
    assert running.completion().tokens == before.tokens
