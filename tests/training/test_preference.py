"""Learning from preferences: the losses are TRL's, and what was preferred becomes likelier."""

import json
import math
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from datasets import Dataset
from transformers import AutoModelForCausalLM
from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer, SFTConfig

from tests.training.conftest import SAID
from tests.training.test_sft import Workspace
from training.cli.train import train as verb
from training.curation.formats import written
from training.curation.split import Split
from training.learning.learn import learn
from training.learning.preference import (
    PairTrainer,
    as_pairs,
    collate_pairs,
    encode_preferences,
    encode_verdicts,
)
from training.learning.sft import SftSettings, load_tokenizer, lora
from training.progress import Silence
from training.rows import Row

LABELS = list(SAID)
BETA = 0.3
UNMOVED = {"dpo": math.log(2), "kto": 0.5}  # the loss of a model that is its own reference


@pytest.fixture
def preferred(rows: list[Row]) -> list[Row]:
    """The right label rather than another one."""
    other = dict(zip(LABELS, LABELS[1:] + LABELS[:1], strict=True))
    return [replace(row, rejected=other[row.answer]) for row in rows]


@pytest.fixture
def judged(preferred: list[Row]) -> list[Row]:
    """Right answers with a thumb up, wrong ones with a thumb down, in turn."""
    return [
        replace(
            row,
            answer=str(row.rejected) if number % 2 else row.answer,
            rejected=None,
            desirable=number % 2 == 0,
        )
        for number, row in enumerate(preferred)
    ]


def _moved(trainer: Any) -> Any:
    """With weights in place of the zeros that LoRA begins with, the same for every trainer."""
    rng = torch.Generator().manual_seed(0)
    for name, weight in sorted(trainer.model.named_parameters()):
        if "lora" in name:
            weight.data = torch.randn(weight.shape, generator=rng) * 0.02
    return trainer


def _model(base: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(str(base), dtype=torch.float32)


def _common(folder: Path) -> dict[str, Any]:
    return {
        "output_dir": str(folder),
        "per_device_train_batch_size": 4,
        "per_device_eval_batch_size": 4,
        "beta": BETA,
        "bf16": False,
        "use_cpu": True,
        "gradient_checkpointing": False,
        "report_to": "none",
        "disable_tqdm": True,
    }


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("method", ["dpo", "kto"])
def test_the_loss_is_trls(
    method: str, preferred: list[Row], judged: list[Row], base_model: Path, tmp_path: Path
) -> None:
    tokenizer, settings = load_tokenizer(base_model), SftSettings(rank=8)
    few = (preferred if method == "dpo" else judged)[:4]
    lines = Dataset.from_list([json.loads(written(row)) for row in few]).remove_columns("meta")
    shared = {
        "eval_dataset": lines,
        "train_dataset": lines,
        "processing_class": tokenizer,
        "peft_config": lora(settings),
        "model": _model(base_model),
    }
    theirs: Any = (
        DPOTrainer(args=DPOConfig(**_common(tmp_path)), **shared)
        if method == "dpo"
        else KTOTrainer(
            args=KTOConfig(**_common(tmp_path), train_sampling_strategy="sequential"), **shared
        )
    )
    expected = _moved(theirs).evaluate()["eval_loss"]
    encode = encode_preferences if method == "dpo" else encode_verdicts
    pairs = as_pairs(encode(few, tokenizer, 128))
    common = {name: value for name, value in _common(tmp_path).items() if name != "beta"}
    ours = PairTrainer(
        method,
        BETA,
        seconds=None,
        seed=0,
        model=_model(base_model),
        args=SFTConfig(
            **common, dataset_kwargs={"skip_prepare_dataset": True}, remove_unused_columns=False
        ),
        processing_class=tokenizer,
        train_dataset=pairs,
        eval_dataset=pairs,
        data_collator=partial(collate_pairs, pad=tokenizer.pad_token_id),
        peft_config=lora(settings),
    )
    assert ours.evaluate()["eval_loss"] == pytest.approx(UNMOVED[method], abs=1e-4)
    assert _moved(ours).evaluate()["eval_loss"] == pytest.approx(expected, rel=1e-3)
    assert abs(expected - UNMOVED[method]) > 0.01


def test_the_rarer_verdict_weighs_more(judged: list[Row], base_model: Path) -> None:
    rows = [row for row in judged if row.desirable][:9] + [
        row for row in judged if not row.desirable
    ][:3]
    pairs = encode_verdicts(rows, load_tokenizer(base_model), 128)
    assert [pair.weight for pair in pairs] == [1.0] * 9 + [3.0] * 3
    assert (
        pairs[1].second.input_ids[pairs[1].second.answer_at :]
        == (pairs[0].first.input_ids[pairs[0].first.answer_at :])
    )


def test_preferences_are_learned_after_answers(
    rows: list[Row], preferred: list[Row], base_model: Path, tmp_path: Path
) -> None:
    """The model that has learned the answers is the reference, so the first loss is ln 2."""
    parts = Split(
        (*rows[:12], *preferred[12:36]), (*rows[36:40], *preferred[40:52]), (), (), "nothing"
    )
    settings = SftSettings(
        method="dpo", rank=8, targets="attention", epochs=1, batch_size=4, preference_rate=1e-3
    )
    trained = learn(base_model, parts, settings, tmp_path, Silence())
    assert trained.before is not None
    assert (trained.before.steps, trained.before.rows, trained.steps, trained.rows) == (
        3,
        12,
        6,
        24,
    )
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert log[0]["loss"] == pytest.approx(math.log(2), abs=1e-3)
    assert trained.validation_exact is not None and trained.validation_exact > 0.7
    assert trained.validation_loss is not None and trained.validation_loss < 0.65
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert config["target_modules"] == ["q_proj", "k_proj", "v_proj", "o_proj"]
    assert config["base_model_name_or_path"] == base_model.name


def test_what_cannot_be_done_is_said(pack: Path, base_model: Path, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "state", base_model, (pack,))
    options = ["--method", "dpo", "--learning-rate", "3e-4", "--beta", "0.2"]
    few = CliRunner().invoke(verb, ["boiler", *options], obj=workspace)
    assert few.exit_code == 1
    assert "0 preference rows are left to learn from, dpo needs at least 10" in few.stderr
    (arguments,) = workspace.state.glob("training/*/arguments.json")
    settings = json.loads(arguments.read_text())["settings"]
    kept = [settings[name] for name in ("preference_rate", "learning_rate", "beta")]
    assert kept == [3e-4, 1.5e-3, 0.2]
    if not torch.cuda.is_available():
        quantized = CliRunner().invoke(verb, ["boiler", "--quantize", "4bit"], obj=workspace)
        assert quantized.exit_code == 1
        assert "--quantize 4bit needs a CUDA device, and none is visible" in quantized.stderr
    beta = CliRunner().invoke(verb, ["boiler", "--method", "dpo", "--beta", "0"], obj=workspace)
    assert beta.exit_code == 2
