"""Adapters that must not be served are refused with a reason."""

import json
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from adapters.engines.embedded.batcher import Batcher
from adapters.engines.embedded.errors import AdapterNotFound, AdapterRefused
from adapters.engines.embedded.model import LoadedModel
from tests.adapters.engines.embedded.conftest import AdapterFolder

LAYER = "base_model.model.model.layers.0.self_attn.q_proj"


@pytest.fixture
def model(batcher: Batcher) -> LoadedModel:
    """Accepts ranks up to 16."""
    return batcher.model


def refusal(model: LoadedModel, copy: AdapterFolder) -> str:
    with pytest.raises(AdapterRefused) as refused:
        model.load_adapter("damaged", copy.folder)
    assert "damaged" not in model.adapters
    return str(refused.value)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"r": 32}, "LoRA rank 32 is greater than max_lora_rank 16."),
        ({"rank_pattern": {"q_proj": 64}}, "LoRA rank 64 is greater than max_lora_rank 16."),
        ({"r": "eight"}, "LoRA ranks must be positive integers"),
        ({"r": -1}, "ositive integer"),
        ({"lora_alpha": None}, "lora_alpha must be a finite number"),
        ({"use_dora": True}, "DoRA is not supported."),
        ({"bias": "all"}, "Adapter bias is not supported."),
        ({"modules_to_save": ["lm_head"]}, "Unsupported modules_to_save: ['lm_head']."),
        ({"init_lora_weights": "pissa"}, "changes the base weights"),
        ({"peft_type": "IA3"}, "not a LoRA configuration"),
        ({"peft_type": 3}, "not a LoRA configuration"),
    ],
)
def test_options(
    model: LoadedModel, copy: AdapterFolder, options: dict[str, Any], reason: str
) -> None:
    copy.set_options(**options)
    assert reason in refusal(model, copy)


@pytest.mark.parametrize("text", ["", "[]", "{", '"text"', "[" * 100_000])
def test_configuration_that_is_no_object(
    model: LoadedModel, copy: AdapterFolder, text: str
) -> None:
    copy.config.write_text(text)
    assert "not a LoRA configuration" in refusal(model, copy)


def test_missing_files(model: LoadedModel, copy: AdapterFolder) -> None:
    for path in (f"{copy.folder}/nothing", "no/such/folder", "organisation/model", "\0"):
        with pytest.raises(AdapterNotFound, match="No adapter found for"):
            model.load_adapter("x", path)
    copy.weights.rename(copy.folder / "adapter_model.bin")
    assert "only safetensors is accepted" in refusal(model, copy)


@pytest.mark.parametrize("damage", [b"", b"not safetensors", "half"])
def test_damaged_weights(model: LoadedModel, copy: AdapterFolder, damage: bytes | str) -> None:
    whole = copy.weights.read_bytes()
    copy.weights.write_bytes(whole[: len(whole) // 2] if isinstance(damage, str) else damage)
    assert "not a whole safetensors file" in refusal(model, copy)


def test_weights_that_are_no_numbers(model: LoadedModel, copy: AdapterFolder) -> None:
    for bad in (float("nan"), float("inf")):
        copy.change_tensors(lambda tensors, bad=bad: tensors[f"{LAYER}.lora_A.weight"].fill_(bad))
        assert "holds NaN, infinite or non-float weights" in refusal(model, copy)


def test_weights_for_another_base_model(model: LoadedModel, copy: AdapterFolder) -> None:
    def widen(tensors: dict[str, torch.Tensor]) -> None:
        tensors[f"{LAYER}.lora_A.weight"] = torch.zeros(8, 2048)

    copy.change_tensors(widen)
    assert "was the adapter trained on another base model?" in refusal(model, copy)


def test_weights_nobody_asked_for(model: LoadedModel, copy: AdapterFolder) -> None:
    key = "base_model.model.model.layers.99.self_attn.q_proj"
    copy.change_tensors(
        lambda tensors: tensors.update(
            {
                f"{key}.lora_A.weight": torch.zeros(8, 576),
                f"{key}.lora_B.weight": torch.zeros(576, 8),
            }
        )
    )
    assert "no adaptable layer model.layers.99.self_attn.q_proj" in refusal(model, copy)
    copy.change_tensors(lambda tensors: tensors.pop(f"{key}.lora_B.weight"))
    assert "only one of lora_A and lora_B" in refusal(model, copy)
    copy.change_tensors(lambda tensors: tensors.update(unknown=torch.zeros(2)))
    assert "not a LoRA factor" in refusal(model, copy)


def test_whole_adapter_is_listed_and_forgotten(model: LoadedModel, copy: AdapterFolder) -> None:
    model.load_adapter("whole", copy.folder)
    assert model.adapters["whole"] == str(copy.folder)
    assert model.adapter("whole").rank == json.loads(copy.config.read_text())["r"]
    assert len(model.adapter("whole").factors) == len(load_file(copy.weights)) / 2
    model.unload_adapter("whole")
    with pytest.raises(AdapterNotFound, match="The lora adapter 'whole' cannot be found."):
        model.unload_adapter("whole")
