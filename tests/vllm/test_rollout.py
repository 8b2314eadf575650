"""A rollout on real vLLM: the challenger, the champion ruined, is rolled back by the system."""

import asyncio

import numpy as np

from benchmarks.gateway.prepared import opened
from benchmarks.rollout.checks import Expected, Stored, check
from benchmarks.rollout.design import Terms
from benchmarks.rollout.play import Crowd, play
from benchmarks.rollout.users import Manner, Question
from benchmarks.swap.load import PLAIN
from benchmarks.swap.prepare import DOMAIN
from benchmarks.variants import Tensor, publish_variant
from tests.vllm.conftest import Real

# Replicas on CPU answer a few requests a second: every answer is judged, half of them are the
# challenger's.
TERMS = Terms(stages=(50.0, 100.0), stage_units=20, effect=0.25)
MANNER = Manner(judges=1.0, most_questions=2, late_seconds=3.0)
BODY = {"max_tokens": 6, "min_tokens": 6, "temperature": 0}
QUESTIONS = 16


def test_a_ruined_challenger_is_rolled_back_by_itself(real: Real) -> None:
    champion = real.variants[3]  # the gate passed it; other tests use the first two
    real.serve(champion)
    asked = right_answers(real, champion)
    units = TERMS.most_units(TERMS.forecast(), MANNER)
    sessions = MANNER.sessions(asked, units, seed=1)
    crowd = Crowd(asked, sessions, MANNER, workers=20, body=BODY)
    with opened(real.system.config.parent / "state") as (store, registry):
        sound = registry.version(champion).folder
        challenger = publish_variant(registry, sound, ruined)
        models = champion, challenger
        experiment = TERMS.experiment("ruined", DOMAIN, models, units, salt="s1")
        seen = asyncio.run(play(real.system, experiment, crowd))
        stored = Stored.read(store, registry, "ruined")
    most = sum(len(session.questions) for session in sessions)
    checks = check(stored, seen, Expected("rollback", champion, most))
    assert {one.name: one.told for one in checks if not one.ok} == {}


def ruined(name: str, tensor: Tensor) -> Tensor:
    """Noise in place of every lora_B: training for seconds leaves too little to damage."""
    if ".lora_B." not in name:
        return tensor
    return np.random.default_rng(1).normal(scale=0.3, size=tensor.shape).astype(tensor.dtype)


def right_answers(real: Real, version: str) -> list[Question]:
    """Users want to hear what the sound version says."""
    questions = []
    for text in real.questions.domain[:QUESTIONS]:
        messages = [{"role": "user", "content": text}]
        body = {"model": version, "messages": messages, **BODY, **PLAIN}
        answer = real.http.post("/v1/chat/completions", json=body).raise_for_status().json()
        right = answer["choices"][0]["message"]["content"].strip()
        questions.append(Question(messages, right))
    return questions
