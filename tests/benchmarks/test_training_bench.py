"""`turnout bench training` on a tiny model with random weights: every phase to its figures."""

import json
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result

from benchmarks.training.cli import training
from benchmarks.training.comparison import Compared, Comparison, Rival, Side
from benchmarks.training.forgetting import ratio
from benchmarks.training.linear import Choice, rivals
from tests.training.conftest import PLACES, SAID
from training.evaluation.evaluate import Evaluation, TaskResult, scored
from training.evaluation.metrics import Metric
from training.rows import Row

TASKS = {
    "legal": "clause_type",
    "finance": "banking_intent",
    "medical": "question_type",
    "maintenance": "incident_code",
    "telecom": "protocol",
    "general": "gsm8k",
}


@dataclass(frozen=True)
class Workspace:
    state: Path
    base_model: Path
    encoder: Path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Data of the shared data's shape: three labels, 60 rows to learn from, six to be asked."""
    pairs = [(place, label) for place in (*PLACES, "crypt", "vault") for label in SAID]
    lines = [
        (f"{place} {number}: {SAID[label]}, {place}", label)
        for number, (place, label) in enumerate(pairs)
    ]
    for domain, task in TASKS.items():
        home = tmp_path / "data" / domain
        home.mkdir(parents=True)
        for part, some in (("train", lines[:60]), ("eval", lines[60:])):
            rows = [_line(task, question, label) for question, label in some]
            (home / f"{part}.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
        documents = [
            {"id": label, "title": label, "text": f"{said}. " * 3} for label, said in SAID.items()
        ]
        (home / "documents.jsonl").write_text("\n".join(map(json.dumps, documents)) + "\n")
    return tmp_path


def _line(task: str, question: str, label: str) -> dict[str, object]:
    system = f"Name the fault of a {task} message in one word and nothing else, however long it is."
    turns = [("system", system), ("user", question), ("assistant", label)]
    return {
        "messages": [{"role": role, "content": text} for role, text in turns],
        "meta": {"task": task, "label": label},
    }


def bench(folder: Path, base: Path, encoder: Path, *options: str) -> Result:
    workspace = Workspace(folder / "state", base, encoder)
    arguments = ["--data", str(folder / "data"), "--quick", *options]
    return CliRunner(catch_exceptions=False).invoke(training, arguments, obj=workspace)


def test_adapters_are_compared_with_prompts_and_a_classifier(
    folder: Path, base_model: Path, encoder_folder: Path
) -> None:
    picture = folder / "domains.svg"
    options = ["--phases", "domains", "--domains", "finance", "--rows", "20", "--json"]
    first = bench(folder, base_model, encoder_folder, *options, "--plot", str(picture))
    document = json.loads(first.stdout)["domains"]
    finance = document["domains"]["finance"]
    assert first.exit_code == 1
    assert document["missing"] == []
    assert list(document["mean"]) == [str(side) for side in Side]
    assert {side["n"] for side in finance["sides"].values()} == {6}
    # Random weights name no fault; a classifier learns three of them from a few rows.
    assert finance["linear"]["banking_intent"]["adapter"] == 0.0
    assert finance["linear"]["banking_intent"]["linear"] == 1.0
    bars = ElementTree.parse(picture).iter("{http://www.w3.org/2000/svg}rect")
    of_finance_and_mean = 2 * len(Side)
    assert len([bar for bar in bars if bar.get("class") == "score"]) == of_finance_and_mean
    # Again, with the adapter that is there now, and with the answers that were kept.
    work = folder / "state" / "bench-training" / "quick"
    kept = (work / "answers" / "finance.jsonl").read_bytes()
    again = bench(folder, base_model, encoder_folder, *options, "--adapters", str(work / "state"))
    found = json.loads(again.stdout)["domains"]
    assert found["mean"] == document["mean"]
    assert found["domains"]["finance"]["version"] == finance["version"]
    assert (work / "answers" / "finance.jsonl").read_bytes() == kept


def test_lora_is_compared_with_all_weights(
    folder: Path, base_model: Path, encoder_folder: Path
) -> None:
    options = ["--phases", "share", "--domains", "finance", "--rows", "20", "--json"]
    done = bench(folder, base_model, encoder_folder, *options)
    found = json.loads(done.stdout)["share"]["tasks"]["banking_intent"]
    assert done.exit_code == 1
    # Rank 4 of a Llama with two layers of 64, as big as its embeddings make it.
    assert found["trained_share"] == pytest.approx(4 * 2 * 992 / 3_211_584, rel=0.05)
    assert found["searched"].keys() == {"LoRA", "full fine-tuning"}
    assert {name: list(one["kept"]) for name, one in found["models"].items()} == {
        name: ["gsm8k"]
        for name in (
            "LoRA",
            "full fine-tuning",
            "LoRA, general rows mixed in",
            "full fine-tuning, general rows mixed in",
        )
    }
    losses = {one["kept"]["gsm8k"]["loss"] for one in found["models"].values()}
    before = {one["kept"]["gsm8k"]["loss_before"] for one in found["models"].values()}
    assert len(losses) == 4  # four models
    assert len(before) == 1
    assert found["lora_by_full"] == {"alone": None, "general rows mixed in": None}


def test_training_is_timed_beside_trl(folder: Path, base_model: Path, encoder_folder: Path) -> None:
    done = bench(folder, base_model, encoder_folder, "--phases", "throughput", "--json")
    found = json.loads(done.stdout)["throughput"]
    assert done.exit_code == (0 if found["ok"] else 1)
    short, long = found["workloads"]
    assert short["tokens_per_row"] < long["tokens_per_row"]
    for workload in (short, long):
        assert workload["contenders"].keys() == {
            "turnout",
            "TRL",
            "TRL, no gradient checkpointing",
        }
        losses = [one["loss"] for one in workload["contenders"].values()]
        assert losses == pytest.approx([10.8] * 3, abs=0.2)  # of one in 49,152: ln
        assert all(one["rows_per_second"] > 0 for one in workload["contenders"].values())


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--phases", "speed"], "known are domains, share, throughput"),
        (["--speed-rows", "20"], "multiple of 8"),
        (["--domains", "cooking"], "cooking"),
    ],
)
def test_a_mistake_is_named(folder: Path, options: list[str], named: str) -> None:
    done = bench(folder, folder, folder, *options)
    assert done.exit_code == 2
    assert named in done.output


def test_a_classifier_meets_labels_and_fields_that_are_labels() -> None:
    rows = [
        Row(
            prompt=(("user", f"number {number} is {colour}"),),
            answer=json.dumps({"colour": colour, "number": number}),
            task="paint",
        )
        for number, colour in enumerate(["red", "blue"] * 6)
    ]
    right = scored("model", rows, [row.answer for row in rows])
    (met,) = rivals(rows, right.tasks)
    assert met == (Choice("paint", "colour"), [1.0] * 12, [1.0] * 12)
    assert met[0].name == "paint.colour"


def test_a_ratio_of_means_has_an_interval() -> None:
    found = ratio([1.0] * 9 + [0.0], [1.0] * 10)
    assert found is not None
    assert found[0] == 0.9
    assert found[1] == pytest.approx((0.7, 1.0), abs=0.01)
    assert ratio([1.0], [0.0]) is None


def test_every_domain_has_the_same_weight_and_every_task_in_it() -> None:
    one = _compared("a", {"x": (0.0, 1.0)}, {"x": (0.0, 0.0)})
    two = _compared("b", {"y": (1.0,), "z": (1.0, 1.0, 0.0, 0.0)}, {"y": (0.0,), "z": (0.0,) * 4})
    both = Comparison((one, two))
    gain, (low, high) = both.gain(Side.ADAPTER, Side.BEST_PROMPT)
    assert gain == (0.5 + (1.0 + 0.5) / 2) / 2
    assert low < gain < high
    assert both.ok
    behind = Rival(Choice("x"), (0.0, 1.0), (1.0, 1.0))
    field = Rival(Choice("x", "f"), (0.0, 1.0), (1.0, 1.0))
    assert [behind.ok, field.ok] == [False, True]
    assert not Comparison((one,), missing=("b",)).ok


def _compared(
    name: str, adapter: dict[str, tuple[float, ...]], prompt: dict[str, tuple[float, ...]]
) -> Compared:
    sides = {
        side: _evaluation(adapter if side in (Side.ADAPTER, Side.GROUNDED_ADAPTER) else prompt)
        for side in Side
    }
    return Compared(name, f"{name}--v1", "pass", {}, sides, (), {})


def _evaluation(values: dict[str, tuple[float, ...]]) -> Evaluation:
    tasks = {name: TaskResult(Metric.EXACT_MATCH, some, 0, {}) for name, some in values.items()}
    return Evaluation("model", tasks)
