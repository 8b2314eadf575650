import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from router import Router
from router.cli import router as router_group
from router.examples import Example


@dataclass(frozen=True)
class Workspace:
    artifacts: Path
    encoder: Path
    examples: list[dict[str, str]] = field(default_factory=list)

    def routing_examples(self) -> list[dict[str, str]]:
        return self.examples

    def routing_documents(self) -> dict[str, list[str]]:
        return {"espresso": ["Descaling the boiler of an espresso machine."]}


@pytest.fixture
def workspace(tmp_path: Path, encoder_folder: Path, examples: list[Example]) -> Workspace:
    rows = [{"text": example.text, "label": example.label} for example in examples]
    return Workspace(tmp_path / "artifacts", encoder_folder, rows)


def turnout_router(workspace: Workspace, *arguments: str | Path) -> Result:
    return CliRunner().invoke(router_group, [str(a) for a in arguments], obj=workspace)


def test_fit_on_the_packs_then_eval(workspace: Workspace, tmp_path: Path) -> None:
    row = json.loads(turnout_router(workspace, "fit", "--json").stdout)
    assert row["labels"] == {"espresso": 8, "general": 8, "library": 8}
    assert row["documents"]["espresso"] == 1
    assert Path(row["folder"]) == workspace.artifacts / "router" / row["version"]
    data = tmp_path / "eval.jsonl"
    data.write_text('{"text": "descale the boiler", "label": "espresso"}\n')
    report = json.loads(turnout_router(workspace, "eval", "--data", data, "--json").stdout)
    assert (report["n"], report["accuracy"]) == (1, 1)
    shown = turnout_router(workspace, "eval", "--data", data).stdout
    assert "accuracy 1.000" in shown and "espresso" in shown and "█" in shown


def test_fit_on_a_file_with_out_and_threshold(workspace: Workspace, tmp_path: Path) -> None:
    data = tmp_path / "train.jsonl"
    data.write_text("\n".join(json.dumps(row) for row in workspace.examples))
    out = tmp_path / "out"
    result = turnout_router(workspace, "fit", "--data", data, "--out", out, "--threshold", "0.7")
    assert result.exit_code == 0 and "below 0.70 the general model answers" in result.stdout
    assert Router.load(out).threshold == 0.7
    assert not workspace.artifacts.exists()
    evaluated = turnout_router(workspace, "eval", "--data", data, "--model", out, "--json")
    assert json.loads(evaluated.stdout)["n"] == 24


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("fit", "--data", "absent.jsonl"), "absent.jsonl cannot be read"),
        (("fit", "--documents", "absent"), "absent is not a folder"),
        (("fit", "--threshold", "2"), "not in the range"),
        (("eval", "--data", "absent.jsonl"), "there is no router yet"),
        (("eval", "--data", "absent.jsonl", "--model", "no"), "turnout router fit"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_two(
    workspace: Workspace, arguments: tuple[str, ...], message: str
) -> None:
    result = turnout_router(workspace, *arguments)
    assert result.exit_code == 2
    assert message in result.stderr and "Traceback" not in result.output
    assert result.stdout == ""


@pytest.mark.data
@pytest.mark.timeout(900)
def test_six_labels_of_real_queries(workspace: Workspace, data: Path, tmp_path: Path) -> None:
    arguments = ("fit", "--data", data / "routing" / "train.jsonl", "--out", tmp_path / "six")
    assert turnout_router(workspace, *arguments).exit_code == 0
    result = turnout_router(
        workspace,
        "eval",
        "--data",
        data / "routing" / "eval.jsonl",
        "--model",
        tmp_path / "six",
        "--json",
    )
    report = json.loads(result.stdout)
    assert report["accuracy"] > 0.965
    assert report["ece"] < 0.02
    assert 0.2 < report["second_share"] < 0.4
