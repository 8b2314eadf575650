"""Training with the real model: the quick loss is the plain one, and what a run leaves."""

import json
import random
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from peft import get_peft_model
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM

from adapters.artifacts import Artifacts
from adapters.lora import check_adapter
from adapters.manifest import verify
from adapters.registry import Aliases, Registry
from adapters.store import Store
from tests.serving import wait_for
from tests.training.conftest import write_chat
from training.cli.train import train as verb
from training.errors import RunFailed
from training.learning.batches import Batches, as_dataset, collate, shared_prefix
from training.learning.encoding import IGNORED, Encoded, encode_all
from training.learning.retention import compared, divergence
from training.learning.sft import TARGET_MODULES, SftSettings, load_tokenizer, lora, train
from training.learning.trainer import answer_logits
from training.progress import Silence
from training.rows import Row, read_chat
from training.run import Job, run

ROOT = Path(__file__).parent.parent.parent


@dataclass
class Workspace:
    """What the verbs need, in a temporary folder."""

    state: Path
    base_model: Path
    packs: tuple[Path, ...]
    protect: tuple[Path, ...] = ()
    opted_out: tuple[str, ...] = ()
    trial: Mapping[str, Any] = field(default_factory=dict)
    general: Path | None = None
    general_share: float = 0.1
    grounded_share: float = 0.0
    encoder: Path | None = None
    artifacts: Path = field(init=False)
    versions: Artifacts = field(init=False)
    store_url: str = field(init=False)

    def __post_init__(self) -> None:
        self.artifacts = self.state / "artifacts"
        self.versions = Artifacts(self.state / "artifacts", self.state / "cache")
        self.store_url = f"sqlite:///{self.state}/turnout.db"


@dataclass
class Heard:
    """A reporter that remembers."""

    stages: list[str] = field(default_factory=list)
    figures: list[Mapping[str, float]] = field(default_factory=list)

    def stage(self, name: str) -> None:
        self.stages.append(name)

    def advance(self, done: float, total: float, figures: Mapping[str, float]) -> None:
        assert 0 <= done <= total
        self.figures.append(figures)


@pytest.fixture
def encoded(rows: list[Row], base_model: Path) -> list[Encoded]:
    return encode_all(rows, load_tokenizer(base_model), 128)[0]


def test_batches_hold_each_row_once_and_rows_that_begin_alike() -> None:
    rng = random.Random(0)
    rows = [Encoded((start,) * 20 + (9,) * rng.randrange(1, 50), 20) for start in [1, 2] * 30]
    batches = Batches(rows, 8, seed=1)
    first = list(batches)
    assert sorted(index for batch in first for index in batch) == list(range(60))
    assert len(first) == len(batches) == 8
    assert all(len({rows[index].input_ids[0] for index in batch}) == 1 for batch in first)
    assert list(batches) == first
    batches.set_epoch(1)
    assert list(batches) != first


def test_held_rows_are_among_themselves() -> None:
    rows = [Encoded((7,) * 20 + (n,), 20, held=n % 5 == 0) for n in range(40)]
    batches = list(Batches(rows, 8, seed=1))
    assert len(batches) == 5
    assert all(len({rows[index].held for index in batch}) == 1 for batch in batches)
    (held,) = (batch for batch in batches if rows[batch[0]].held)
    lines = list(as_dataset(rows))
    assert collate([lines[index] for index in held], pad=2)["held"]


def test_the_shared_prefix_ends_where_prompts_part_or_an_answer_begins() -> None:
    same = (7,) * 30
    assert shared_prefix([Encoded((*same, 1, 2), 31), Encoded((*same, 3, 2), 31)]) == 30
    assert shared_prefix([Encoded((*same, 2), 30), Encoded((*same, 3), 30)]) == 29
    assert shared_prefix([Encoded((1, 2, 3), 2), Encoded((1, 2, 4), 2)]) == 0
    assert shared_prefix([Encoded((*same, 1), 30)]) == 0


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_the_quick_loss_and_its_gradient_are_the_plain_ones(
    encoded: list[Encoded], base_model: Path
) -> None:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(str(base_model), dtype=torch.float32)
    model = get_peft_model(model, lora(SftSettings(rank=8)))
    inputs = collate(list(as_dataset(encoded[:4])), pad=2)
    assert inputs["shared"] > 20
    logits, expected = answer_logits(model.get_base_model(), inputs)
    quick = cross_entropy(logits, expected)
    quick.backward()
    weight = next(p for n, p in model.named_parameters() if "layers.3.self_attn.k_proj.lora_B" in n)
    gradient = weight.grad.clone()
    model.zero_grad()
    out = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"])
    labels = inputs["labels"][:, 1:]
    plain = cross_entropy(out.logits[:, :-1].flatten(0, 1), labels.flatten(), ignore_index=IGNORED)
    plain.backward()
    torch.testing.assert_close(quick, plain, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(gradient, weight.grad, rtol=1e-3, atol=1e-5)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_a_held_row_draws_the_adapter_back_to_the_base_model(
    encoded: list[Encoded], base_model: Path
) -> None:
    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_pretrained(str(base_model), dtype=torch.float32)
    model = get_peft_model(base, lora(SftSettings(rank=8)))
    inputs = collate(list(as_dataset(encoded[:3])), pad=2)
    assert divergence(model, inputs).item() == 0
    learned = [p for n, p in model.named_parameters() if "lora_B" in n]
    with torch.no_grad():
        for weight in learned:
            weight.normal_(std=0.02)
    away = divergence(model, inputs)
    ids, real = inputs["input_ids"], inputs["attention_mask"].bool()
    adapted = model(input_ids=ids, attention_mask=inputs["attention_mask"]).logits
    with model.disable_adapter():
        before = model(input_ids=ids, attention_mask=inputs["attention_mask"]).logits
    mine, its = adapted.log_softmax(-1)[real], before.log_softmax(-1)[real]
    assert sum(map(compared, real.sum(1).tolist())) == len(mine)
    torch.testing.assert_close(away, (its.exp() * (its - mine)).sum(), rtol=1e-3, atol=1e-3)
    away.backward()
    with torch.no_grad():
        for weight in learned:
            weight -= 1e-4 * weight.grad / weight.grad.norm()
    assert divergence(model, inputs).item() < away.item()
    inputs["labels"][1:] = IGNORED
    assert 0 < divergence(model, inputs).item() < away.item()


def test_a_run_learns_is_evaluated_and_registered(
    pack: Path, base_model: Path, tmp_path: Path
) -> None:
    """The whole story, once, and what it leaves on disk."""
    write_chat(pack / "eval.jsonl", read_chat(pack / "train.jsonl")[:24])
    workspace = Workspace(tmp_path / "state", base_model, (pack,))
    workspace.grounded_share = 0.25  # and no index to take passages from
    options = ["boiler", "--epochs", "3", "--rank", "8", "--seed", "1", "--promote", "--json"]
    options += ["--protect", str(pack / "eval.jsonl")]
    outcome = CliRunner().invoke(verb, options, obj=workspace)
    assert outcome.exit_code == 0, outcome.output
    result = json.loads(outcome.stdout)
    assert result["verdict"] == "pass" and result["promoted"]
    assert result["dataset"]["kept"] == 67  # with seven general rows
    store = Store(workspace.store_url)
    registry = Registry(store, workspace.versions)
    assert registry.aliases() == {"boiler": Aliases(champion=result["version"])}
    manifest = verify(registry.version(result["version"]).folder)
    store.close()
    assert (manifest.rank, manifest.method, manifest.seeds) == (8, "sft", {"split": 1, "train": 1})
    assert manifest.data["rows"] == {"train": 39, "validation": 4, "test": 24}
    assert manifest.data["digest"] == result["dataset"]["digest"]
    assert (manifest.data["index"], manifest.gate["grounded"]) == (None, False)
    assert "base with plain" not in {one.rival for one in manifest.comparisons}
    assert [(metric.task, metric.base_score) for metric in manifest.metrics] == [("fault", 0.0)]
    config = check_adapter(registry.version(result["version"]).folder)
    assert config["task_type"] == "CAUSAL_LM"
    assert config["target_modules"] == list(TARGET_MODULES)
    (folder,) = (workspace.state / "training").glob("boiler-*")
    names = {"arguments.json", "dataset", "result.json", "log.jsonl"}
    assert {path.name for path in folder.iterdir()} == names
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    steps = [line for line in log if "loss" in line]
    assert [line["step"] for line in steps] == list(range(1, 16))
    first, last = ([line["loss"] for line in some] for some in (steps[:5], steps[-5:]))
    assert max(last) < max(first) / 4
    assert sum("validation_loss" in line for line in log) == 3


def test_the_clock_ends_a_run_and_its_learning_rate(
    encoded: list[Encoded], base_model: Path, tmp_path: Path
) -> None:
    heard = Heard()
    settings = SftSettings(rank=1, epochs=100, minutes=0.1)
    trained = train(base_model, encoded[:16], encoded[16:20], settings, tmp_path, heard)
    assert trained.stopped == "time"
    assert 1 <= trained.steps < 200
    assert trained.seconds < 15
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    rates = [line["lr"] for line in log if "lr" in line]
    assert rates[-1] < settings.learning_rate / 2
    assert {"loss", "tokens/s", "rows/s"} == set(heard.figures[0])


def test_the_same_seed_gives_the_same_weights(
    encoded: list[Encoded], base_model: Path, tmp_path: Path
) -> None:
    digests = []
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        (tmp_path / name).mkdir()
        settings = SftSettings(rank=1, epochs=1, batch_size=4, seed=seed)
        train(base_model, encoded[:8], [], settings, tmp_path / name, Silence())
        digests.append((tmp_path / name / "adapter" / "adapter_model.safetensors").read_bytes())
    assert digests[0] == digests[1] != digests[2]


def test_a_broken_loss_registers_nothing(pack: Path, base_model: Path, tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path}/turnout.db")
    registry = Registry(store, Artifacts(tmp_path / "artifacts", tmp_path / "cache"))
    settings = SftSettings(rank=1, epochs=2, learning_rate=1e30)
    job = Job("boiler", base_model, tmp_path / "run", (pack,), settings=settings)
    with pytest.raises(RunFailed, match="a lower learning rate may help"):
        run(job, store, registry, Silence())
    assert registry.versions() == []
    assert not (tmp_path / "artifacts").exists()
    store.close()


def test_a_killed_run_registers_nothing(pack: Path, base_model: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    program = (
        "import sys; from pathlib import Path; from training.cli.train import train;"
        "from tests.training.test_sft import Workspace;"
        "state, base, pack = map(Path, sys.argv[1:]);"
        "train(['boiler', '--epochs', '50'], obj=Workspace(state, base, (pack,)))"
    )
    command = [sys.executable, "-c", program, str(state), str(base_model), str(pack)]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) as process:
        wait_for(lambda: any(state.glob("training/*/log.jsonl")), "the first step", 120)
        process.kill()
    store = Store(f"sqlite:///{state}/turnout.db")
    assert Registry(store, Artifacts(state / "artifacts", state / "cache")).versions() == []
    assert not (state / "artifacts").exists()
    store.close()


def test_the_verb_explains_what_is_missing(
    base_model: Path, tmp_path: Path, rows: list[Row]
) -> None:
    workspace = Workspace(tmp_path / "state", base_model, ())
    unknown = CliRunner().invoke(verb, ["boiler"], obj=workspace)
    assert unknown.exit_code == 1
    assert "no pack is named 'boiler' (configured: none)" in unknown.stderr
    few = write_chat(tmp_path / "few.jsonl", rows[:5])
    scarce = CliRunner().invoke(verb, ["boiler", "--data", str(few)], obj=workspace)
    assert scarce.exit_code == 1
    assert "5 training rows are left of 5; at least 10 are needed" in scarce.stderr
    empty = CliRunner().invoke(verb, ["boiler", "--from-log"], obj=workspace)
    assert empty.exit_code == 1
    assert "boiler has no examples" in empty.stderr
    assert CliRunner().invoke(verb, ["boiler", "--rank", "7"], obj=workspace).exit_code == 2
