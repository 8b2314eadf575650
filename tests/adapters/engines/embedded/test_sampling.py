"""Choosing tokens from logits that can be checked by eye."""

import math
from typing import Any

import pytest
import torch

from adapters.engines.embedded.errors import RequestRefused
from adapters.engines.embedded.generation_fields import GenerationFields
from adapters.engines.embedded.model import LoadedModel
from adapters.engines.embedded.sampling import Sampler, SamplingParams

LOGITS = [2.0, 1.0, 0.5, -1.0]


def drawn(count: int = 400, prompt: tuple[int, ...] = (), **options: Any) -> set[int]:
    """The tokens that come up in many draws from LOGITS."""
    sampler = Sampler(SamplingParams(seed=1, **options), prompt, len(LOGITS), frozenset({3}))
    return {sampler.choose(torch.tensor(LOGITS), 0)[0] for _ in range(count)}


def test_everything_can_be_drawn_without_limits() -> None:
    assert drawn() == {0, 1, 2, 3}


@pytest.mark.parametrize(
    ("options", "allowed"),
    [
        ({"temperature": 0.0}, {0}),
        ({"top_k": 2}, {0, 1}),
        ({"top_p": 0.5}, {0}),
        ({"top_p": 0.7}, {0, 1}),
        ({"min_p": 0.3}, {0, 1}),
        ({"top_k": 3, "top_p": 0.7}, {0, 1}),
        ({"logit_bias": {0: -100.0, 1: -100.0}}, {2, 3}),
        ({"temperature": 0.0, "logit_bias": {3: 100.0}}, {3}),
        ({"min_tokens": 1}, {0, 1, 2}),
    ],
)
def test_limits(options: dict[str, Any], allowed: set[int]) -> None:
    assert drawn(**options) == allowed


def test_frequencies_follow_the_probabilities() -> None:
    sampler = Sampler(SamplingParams(seed=3), (), 4, frozenset())
    draws = [sampler.choose(torch.tensor(LOGITS), 0)[0] for _ in range(4000)]
    shares = torch.bincount(torch.tensor(draws)) / len(draws)
    assert shares.tolist() == pytest.approx(torch.tensor(LOGITS).softmax(-1).tolist(), abs=0.03)


def test_penalties_turn_away_from_what_was_said() -> None:
    for options in ({"presence_penalty": 1.5}, {"frequency_penalty": 1.5}):
        sampler = Sampler(SamplingParams(temperature=0, **options), (0,), 4, frozenset())
        chosen = [sampler.choose(torch.tensor(LOGITS), 0)[0] for _ in range(2)]
        assert chosen == [0, 1]  # the prompt does not count, the answer does
    repetition = Sampler(
        SamplingParams(temperature=0, repetition_penalty=3.0), (0,), 4, frozenset()
    )
    assert repetition.choose(torch.tensor(LOGITS), 0)[0] == 1  # here the prompt counts


def test_logprobs_are_those_of_the_untouched_logits() -> None:
    params = SamplingParams(temperature=0, logprobs=2, logit_bias={1: 100.0})
    token, at = Sampler(params, (), 4, frozenset()).choose(torch.tensor(LOGITS), 0)
    expected = torch.tensor(LOGITS).log_softmax(-1).tolist()
    assert at is not None
    assert (token, at.token) == (1, 1)
    assert at.logprob == pytest.approx(expected[1])
    assert [token for token, _ in at.top] == [0, 1]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", -0.1),
        ("temperature", math.nan),
        ("temperature", 2.5),
        ("top_p", 0.0),
        ("top_p", math.nan),
        ("top_k", -2),
        ("min_p", 1.5),
        ("presence_penalty", 3.0),
        ("frequency_penalty", math.inf),
        ("repetition_penalty", 0.0),
        ("max_tokens", 0),
        ("min_tokens", -1),
        ("stop", ("",)),
    ],
)
def test_out_of_range_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(RequestRefused, match=name) as refused:
        SamplingParams(**{name: value})
    assert refused.value.param == name


def test_the_models_recommendation_counts_where_the_request_is_silent(exact: LoadedModel) -> None:
    assert exact.sampling_defaults == {"temperature": 0.2, "top_p": 0.9}
    silent = GenerationFields().with_defaults(exact.sampling_defaults)
    assert (silent.temperature, silent.top_p) == (0.2, 0.9)
    loud = GenerationFields(temperature=1.5).with_defaults(exact.sampling_defaults)
    assert (loud.temperature, loud.top_p) == (1.5, 0.9)
