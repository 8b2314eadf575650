"""What is advised, from made-up scores, a served model and a real one."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from adapters.artifacts import Artifacts
from tests.fakes.vllm import FakeVllm
from tests.serving import serving
from tests.training.conftest import write_chat
from training.cli.advise import advise as verb
from training.curation.split import Split
from training.evaluation.evaluate import Answers, Question, scored
from training.evaluation.speed import Meter
from training.progress import Silence
from training.prompting.advise import Advice, Approach, advise
from training.rows import Row


def approach(name: str, rows: Sequence[Row], right: int) -> Approach:
    """One that gets the first rows right."""
    answers = [row.answer if i < right else "?" for i, row in enumerate(rows)]
    return Approach(name, name, scored(name, rows, answers), 20.0, 0.1)


@pytest.fixture
def many(rows: list[Row]) -> list[Row]:
    return rows * 5


def test_the_least_work_within_the_margin_is_advised(many: list[Row]) -> None:
    # Of 300 rows; 3 are 1 point.
    found = Advice(
        (
            approach("plain", many, 60),
            approach("few-shot", many, 267),
            approach("adapter", many, 270),
        ),
        margin=0.05,
    )
    low, high = found.behind(found.advised)
    assert (found.best.name, found.advised.name, found.is_sure) == ("adapter", "few-shot", True)
    assert found.level == 0.975
    assert found.behind(found.best) == (0.0, 0.0)
    assert -0.04 < low < -0.01 < high < 0.02
    assert found.sentence == (
        "Few-shot is enough: 89.0 % on 300 rows at 20 tokens each, -1.0 points "
        f"(97.5 % interval {100 * low:+.1f} to {100 * high:+.1f}) against adapter, the best at 20 "
        "tokens each."
    )


def test_few_rows_make_no_sure_advice(rows: list[Row]) -> None:
    some = rows[:10]
    found = Advice((approach("plain", some, 7), approach("adapter", some, 8)), margin=0.02)
    assert (found.advised.name, found.is_sure) == ("plain", False)
    assert found.sentence.startswith("Plain may be enough: 70.0 % on 10 rows at 20 tokens each")
    assert found.sentence.endswith("; more rows would tell whether it is within 2 points.")


def test_the_best_is_advised_where_all_that_is_simpler_is_surely_worse(many: list[Row]) -> None:
    found = Advice((approach("few-shot", many, 186), approach("adapter", many, 267)), margin=0.02)
    low, high = found.behind(found.approaches[0])
    assert found.sentence == (
        "Adapter is enough: 89.0 % on 300 rows at 20 tokens each, the best; few-shot has 62.0 % at "
        f"20 tokens each, -27.0 points (95.0 % interval {100 * low:+.1f} to {100 * high:+.1f})."
    )
    assert -0.34 < low < -0.27 < high < -0.2


def test_nothing_is_enough_where_nothing_is_right(rows: list[Row]) -> None:
    nothing = Advice((approach("plain", rows, 0), approach("adapter", rows, 0)), margin=0.02)
    assert nothing.sentence == "Nothing is enough: no approach got a single answer right."


class Copycat:
    """A model that repeats the answer it saw last; `sizes` are those of the batches it got."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def __call__(self, meter: Meter) -> Answers:
        def ask(
            asked: Sequence[Question], on_progress: Callable[[int, int], None]
        ) -> list[str | None]:
            self.sizes.append(len(asked))
            meter.asked += [len(question.messages) for question in asked]
            said = [[m["content"] for m in q.messages if m["role"] == "assistant"] for q in asked]
            return [answers[-1] if answers else "?" for answers in said]

        return ask


def leaky(_meter: Meter) -> Answers:
    """A model that says `leak` to everything."""
    return lambda asked, _on_progress: ["leak"] * len(asked)


def test_every_approach_is_measured_on_the_test_part(rows: list[Row]) -> None:
    untested = replace(rows[13], task="other")
    validation = (untested, *rows[14:24])
    parts = Split(tuple(rows[24:]), validation, tuple(rows[:12]), (), "near-duplicates")
    copycat = Copycat()
    found = advise(copycat, leaky, parts, None, Silence(), margin=0.02)
    assert [(one.name, one.prompt, one.score, one.tokens) for one in found.approaches] == [
        ("plain", "plain", 0.0, 2.0),
        ("instructions", "label list", 0.0, 2.0),
        ("few-shot", "4 nearest examples", 1.0, 10.0),
        ("adapter", "plain", pytest.approx(1 / 3), None),
    ]
    assert (found.advised.name, found.is_sure) == ("few-shot", True)
    # Three few-shot prompts on ten validation rows, three approaches on twelve test rows.
    assert copycat.sizes == [10, 10, 10, 12, 12, 12]


@pytest.fixture
def workspace(tmp_path: Path, pack: Path, base_model: Path) -> SimpleNamespace:
    return SimpleNamespace(
        state=tmp_path / "state",
        artifacts=tmp_path / "artifacts",
        versions=Artifacts(str(tmp_path / "artifacts"), tmp_path / "cache"),
        store_url=f"sqlite:///{tmp_path}/turnout.db",
        base_model=base_model,
        packs=(pack,),
        development_key=None,
    )


def ask(workspace: SimpleNamespace, *arguments: str) -> Result:
    return CliRunner().invoke(verb, arguments, obj=workspace)


def read(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.output
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def test_a_server_is_asked_and_the_picture_drawn(
    workspace: SimpleNamespace, rows: list[Row], tmp_path: Path
) -> None:
    quiz = [
        replace(row, prompt=(("user", f"quiz {row.question}"),), answer="right", label="right")
        for row in rows
    ]
    write_chat(workspace.packs[0] / "train.jsonl", quiz[20:])
    write_chat(workspace.packs[0] / "eval.jsonl", quiz[:20])
    engine, plot = FakeVllm(), tmp_path / "advice.svg"
    engine.adapters["better"] = "/nowhere"
    engine.knows["better"] = 1.0
    with serving(engine.app) as url:
        server = ("--url", url, "--base", "tiny", "--adapter", "better")
        found = read(
            ask(workspace, "boiler", *server, "--rows", "15", "--plot", str(plot), "--json")
        )
    assert (found["domain"], found["best"], found["advised"]) == ("boiler", "adapter", "adapter")
    assert found["notes"] == [
        "no index to search; `turnout docs ingest PATH --domain boiler`",
        "adapter: better",
    ]
    assert [(one["name"], one["score"], one["n"]) for one in found["approaches"]] == [
        ("plain", 0.0, 15),
        ("instructions", 0.0, 15),
        ("few-shot", 0.0, 15),
        ("adapter", 1.0, 15),
    ]
    assert found["approaches"][0]["tokens_per_question"] == 8.0  # the engine says 7 and 1
    assert "<svg" in plot.read_text()


def test_models_in_this_process_and_an_adapter_trained_for_it(workspace: SimpleNamespace) -> None:
    arguments = ("--train", "--minutes", "0.02", "--rows", "2")
    shown = ask(workspace, "boiler", *arguments)
    assert shown.exit_code == 0, shown.output
    names = [line.split("  ")[0].strip() for line in shown.stdout.splitlines()[2:7]]
    assert names == ["approach", "plain", "instructions", "few-shot", "adapter"]
    (folder,) = (workspace.state / "training").iterdir()
    assert shown.stdout.splitlines()[-2:] == [
        "no index to search; `turnout docs ingest PATH --domain boiler`",
        f"adapter: trained to be measured, {folder / 'adapter'}",
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["ovens"], "no pack is named 'ovens'"),
        (["boiler", "--adapter", "boiler--v9-00000000"], "no adapter version"),
        (["boiler", "--url", "http://127.0.0.1:1"], "--url needs --base"),
        (["boiler", "--plot", "advice.gif"], "does not end in .svg or .png"),
        (["boiler", "--margin", "-1"], "--margin"),
    ],
)
def test_wrong_use_is_explained(
    workspace: SimpleNamespace, arguments: list[str], said: str
) -> None:
    result = ask(workspace, *arguments)
    assert result.exit_code == 2
    assert said in result.stderr and "Traceback" not in result.stderr
