"""Perplexity over HTTP: vLLM's `prompt_logprobs` are what the same weights say in process. The
gateway does not pass them on, as together with other requests they end a vLLM that holds adapters.
"""

from pathlib import Path

import pytest

from benchmarks.swap.prepare import DOMAIN
from benchmarks.swap.servers import ROOT, SERVED_NAME
from benchmarks.swap.system import KEY
from tests.vllm.conftest import Real
from training.errors import EndpointError
from training.evaluation.endpoint import Endpoint
from training.evaluation.inprocess import BASE, InProcess
from training.evaluation.likelihood import Likelihood, Loss
from training.rows import read_chat

ROWS = read_chat(ROOT / "examples" / DOMAIN / "eval.jsonl")[:12]


def told(losses: list[Loss | None]) -> Likelihood:
    found = Likelihood(tuple(losses))
    assert len(found.known) == len(ROWS)
    return found


def test_an_engine_tells_the_losses_of_its_weights(
    real: Real, folder: Path, base_model: Path
) -> None:
    own = InProcess(base_model)
    own.load("adapter", folder)
    engine = Endpoint(real.system.replicas[0].url)
    for ours, theirs in ((BASE, SERVED_NAME), ("adapter", real.versions[0])):
        expected, served = told(own.losses(ours, ROWS)), told(engine.losses(theirs, ROWS))
        assert [loss.tokens for loss in served.known] == [loss.tokens for loss in expected.known]
        assert served.per_token == pytest.approx(expected.per_token, rel=0.02, abs=0.02)


def test_the_gateway_refuses(real: Real) -> None:
    gateway = Endpoint(real.system.gateway.url, key=KEY)
    with pytest.raises(EndpointError, match="can end a vLLM"):
        gateway.losses(real.versions[0], ROWS)
