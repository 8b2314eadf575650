"""Losses of expected answers, in process and by a server's prompt_logprobs; the verb in process."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM

from adapters.artifacts import Artifacts
from adapters.registry import Registry
from adapters.store import Store
from retrieval.distill import packaged_source
from tests.adapters.folders import MODULE, facts, write_adapter, write_weights
from tests.fakes.vllm import FakeVllm
from tests.serving import serving
from tests.training.conftest import write_chat
from training.cli.evaluate import evaluate as verb
from training.errors import EndpointError, RunFailed
from training.evaluation.bertscore import BertScore
from training.evaluation.endpoint import Endpoint
from training.evaluation.inprocess import BASE, InProcess
from training.evaluation.likelihood import Likelihood, Loss
from training.learning.encoding import encode
from training.learning.sft import load_tokenizer
from training.rows import Row


class WithLogprobs:
    """A server that speaks vLLM's prompt_logprobs: three tokens of template, then the answer's
    words, an end of turn and a line's end."""

    def __init__(self, **oddities: Any) -> None:
        self.oddities = oddities
        self.seen: list[dict[str, Any]] = []
        self.app = Starlette(routes=[Route("/v1/chat/completions", self.chat, methods=["POST"])])

    async def chat(self, request: Request) -> Response:
        body = await request.json()
        self.seen.append(body)
        usage = {"prompt_tokens": 3, "completion_tokens": 1}
        document: dict[str, Any] = {"choices": [], "usage": usage}
        if "prompt_logprobs" in body:
            words = [*body["messages"][-1]["content"].split(), "<|im_end|>", "\n"]
            said = [{"7": {"logprob": -0.5, "decoded_token": word}} for word in words]
            document["prompt_logprobs"] = [None, {}, {}, *said]
            document |= self.oddities
        return JSONResponse(document)


def test_losses_of_a_server(rows: list[Row]) -> None:
    server = WithLogprobs()
    with serving(server.app) as url:
        found = Endpoint(url).losses("m", [replace(rows[0], answer="it leaks")])
    assert found == [Loss(1.5, 3)]  # two words and the end of the turn
    told = next(body for body in server.seen if "prompt_logprobs" in body)
    assert told["messages"][-1] == {"role": "assistant", "content": "it leaks"}
    assert (told["add_generation_prompt"], told["prompt_logprobs"]) == (False, 0)


@pytest.mark.parametrize(
    "oddities",
    [
        {"prompt_logprobs": [None, {}, {}, {}]},
        {"prompt_logprobs": [None, {}, {}, {"7": {"logprob": "x", "decoded_token": "y"}}]},
        {"prompt_logprobs": "abcdef"},
        {"prompt_logprobs": {"3": 4}},
    ],
)
def test_odd_logprobs_are_a_row_without_a_loss(rows: list[Row], oddities: dict[str, Any]) -> None:
    with serving(WithLogprobs(**oddities).app) as url:
        assert Endpoint(url).losses("m", rows[:1]) == [None]


def test_a_server_without_them_is_told_apart(rows: list[Row]) -> None:
    with (
        serving(FakeVllm().app) as url,
        pytest.raises(EndpointError, match="prompt_logprobs.*in p"),
    ):
        Endpoint(url).losses("tiny", rows[:1])


def test_perplexity_weighs_tokens_and_survives_the_improbable() -> None:
    found = Likelihood((Loss(2.0, 1), None, Loss(1.0, 2)))
    assert found.as_json() == {"n": 2, "tokens": 3, "loss": 1.0, "perplexity": 2.7183}
    json.dumps(Likelihood((Loss(1e12, 1),)).as_json(), allow_nan=False)
    nothing = {"n": 0, "tokens": 0, "loss": None, "perplexity": None}
    assert Likelihood((None,)).as_json() == nothing


def test_losses_in_process_are_the_models(rows: list[Row], base_model: Path) -> None:
    found = InProcess(base_model).losses(BASE, [*rows[:2], replace(rows[0], answer="leak " * 5000)])
    model = AutoModelForCausalLM.from_pretrained(str(base_model), dtype=torch.float32)
    tokenizer = load_tokenizer(base_model)
    for row, loss in zip(rows[:2], found, strict=False):
        encoded = encode(row, tokenizer, 8192)
        assert encoded is not None and loss is not None
        with torch.no_grad():
            logits = model(torch.tensor([encoded.input_ids])).logits[0, encoded.answer_at - 1 : -1]
        wanted = torch.tensor(encoded.input_ids[encoded.answer_at :])
        assert loss.tokens == len(wanted)
        assert loss.total == pytest.approx(
            float(cross_entropy(logits, wanted, reduction="sum")), rel=0.03
        )
    assert found[2] is None


def test_bertscore_pairs_what_belongs_together() -> None:
    encoder = BertScore(packaged_source())
    pairs = [
        ("the pump is leaking", "the pump leaks"),
        (
            "the heater is cold",
            "a very long answer about ships and the sea, and about nothing else",
        ),
        ("the pump leaks", "the pump leaks"),
        ("the pump", ""),
        ("the pump", "\ud800"),
        ("the pump", "pump " * 20_000),
    ]
    scores = encoder(pairs)
    assert scores[0] == pytest.approx(0.862, abs=0.005)  # bert-score's greedy matching
    assert scores[1] < 0.4
    assert scores[2:4] == [pytest.approx(1.0), 0.0]
    assert encoder(pairs[::-1]) == pytest.approx(scores[::-1])


def test_an_encoder_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match="cannot be loaded as an encoder"):
        BertScore(tmp_path)


@pytest.fixture
def place(tmp_path: Path, base_model: Path) -> SimpleNamespace:
    return SimpleNamespace(
        development_key=None,
        versions=Artifacts(str(tmp_path / "artifacts"), tmp_path / "cache"),
        store_url=f"sqlite:///{tmp_path}/turnout.db",
        base_model=base_model,
    )


def test_the_verb_in_process(rows: list[Row], tmp_path: Path, place: SimpleNamespace) -> None:
    data = write_chat(tmp_path / "eval.jsonl", rows[:3])
    pack = tmp_path / "pack"
    pack.mkdir()
    (pack / "queries.jsonl").write_text("")
    (pack / "pack.toml").write_text(
        'name = "b"\ntitle = "B"\n[[probes]]\nname = "rooms"\nswap = [["kitchen", "hall"]]'
    )
    said = tmp_path / "said.jsonl"
    arguments = [
        "base",
        "--data",
        str(data),
        "--in-process",
        "--slices",
        "--robust",
        "--perplexity",
    ]
    arguments += ["--probes", str(pack), "--predictions", str(said)]
    arguments += ["--bertscore", str(packaged_source())]
    result = CliRunner().invoke(verb, [*arguments, "--json"], obj=place)
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["n"] == 3
    assert document["perplexity"]["base"]["n"] == 3
    assert set(document["slices"]["fault"]) == {"label", "length"}
    assert document["robustness"]["typos"]["n"] == 3
    assert [(one["probe"], one["n"]) for one in document["bias"]] == [
        ("rooms", {"kitchen": 3, "hall": 0})
    ]
    assert 0 < document["bertscore"]["base"]["fault"] < 1
    assert document["speed"]["base"]["tokens_per_second"] > 0
    assert [json.loads(line)["expected"] for line in said.read_text().splitlines()] == [
        "leak",
        "noise",
        "cold",
    ]


def test_a_domain_in_process_is_its_champion(
    rows: list[Row], tmp_path: Path, place: SimpleNamespace
) -> None:
    folder = write_adapter(tmp_path / "adapter")
    write_weights(folder, {MODULE: (8, 576, 576)})
    store = Store(place.store_url)
    registry = Registry(store, place.versions)
    version = registry.publish("boiler", folder, facts()).version
    registry.promote(version, actor="test", reason="it is the only one")
    store.close()
    data = write_chat(tmp_path / "eval.jsonl", rows[:3])
    arguments = ["boiler", "--data", str(data), "--in-process", "--perplexity", "--json"]
    arguments += ["--against", version, "--against", "base"]
    result = CliRunner().invoke(verb, arguments, obj=place)
    assert result.exit_code == 0, result.output
    losses = {
        name: found["loss"] for name, found in json.loads(result.stdout)["perplexity"].items()
    }
    assert losses["boiler"] == losses[version] != losses["base"]


@pytest.mark.parametrize(
    ("arguments", "code", "problem"),
    [
        (["nobody", "--in-process"], 1, "nobody"),
        (["base", "--judge", "http://127.0.0.1:1/v1"], 2, "--judge-model"),
        (["base", "--judge", "ftp://x", "--judge-model", "m", "--against", "y"], 2, "--judge: url"),
        (["base", "--probes", "{pack}"], 2, "has no [[probes]]"),
        (["base", "--bertscore", "{pack}"], 2, "cannot be loaded as an encoder"),
        (["base", "--task", "nothing"], 2, "no rows"),
    ],
)
def test_wrong_use_is_explained(
    rows: list[Row],
    tmp_path: Path,
    place: SimpleNamespace,
    arguments: list[str],
    code: int,
    problem: str,
) -> None:
    (tmp_path / "queries.jsonl").write_text("")
    (tmp_path / "pack.toml").write_text('name = "b"\ntitle = "B"')
    data = write_chat(tmp_path / "eval.jsonl", rows[:3])
    given = [argument.format(pack=tmp_path) for argument in arguments]
    result = CliRunner().invoke(verb, [*given, "--data", str(data)], obj=place)
    assert result.exit_code == code, result.output
    # Click breaks lines and frames them.
    assert problem in " ".join(result.stderr.replace("│", " ").split())
