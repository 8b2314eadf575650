"""Perplexity over HTTP: vLLM's `prompt_logprobs` are what the same weights say in process."""

from pathlib import Path

import pytest

from benchmarks.swap.prepare import DOMAIN
from benchmarks.swap.servers import ROOT, SERVED_NAME
from benchmarks.swap.system import KEY
from tests.vllm.conftest import Real
from training.evaluation.endpoint import Endpoint
from training.evaluation.inprocess import BASE, InProcess
from training.evaluation.likelihood import Likelihood, Loss
from training.rows import read_chat

ROWS = read_chat(ROOT / "examples" / DOMAIN / "eval.jsonl")[:12]


def told(losses: list[Loss | None]) -> Likelihood:
    found = Likelihood(tuple(losses))
    assert len(found.known) == len(ROWS)
    return found


def test_an_engine_and_the_gateway_tell_the_losses_of_the_weights(
    real: Real, folder: Path, base_model: Path
) -> None:
    own = InProcess(base_model)
    own.load("adapter", folder)
    base, adapted = (told(own.losses(name, ROWS)) for name in (BASE, "adapter"))
    assert adapted.per_token < base.per_token / 2
    engine = Endpoint(real.system.replicas[0].url)
    gateway = Endpoint(real.system.gateway.url, key=KEY)
    for server in (engine, gateway):
        served = told(server.losses(real.versions[0], ROWS))
        assert [loss.tokens for loss in served.known] == [loss.tokens for loss in adapted.known]
        assert served.per_token == pytest.approx(adapted.per_token, rel=0.05, abs=0.01)
    assert told(engine.losses(SERVED_NAME, ROWS)).per_token == pytest.approx(
        base.per_token, rel=0.05
    )
