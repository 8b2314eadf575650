"""`calibrate`, `drift` and the pictures, through the command line."""

import json
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from router import Cascade, Router
from router.examples import Example
from router.fitting.artefact import publish
from router.fitting.fit import FittedRouter
from tests.router.test_cli import Workspace, turnout_router

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def workspace(fitted: FittedRouter, tmp_path: Path, encoder_folder: Path) -> Workspace:
    made = Workspace(tmp_path / "artifacts", encoder_folder)
    publish(fitted, made.artifacts / "router")
    return made


@pytest.fixture
def lines(tmp_path: Path, examples: list[Example]) -> Path:
    """Each example twelve times: enough for a promise."""
    file = tmp_path / "lines.jsonl"
    rows = [{"text": each.text, "label": each.label} for each in examples] * 12
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def test_a_goal_makes_the_next_version(workspace: Workspace, lines: Path) -> None:
    row = json.loads(
        turnout_router(
            workspace, "calibrate", "--data", lines, "--precision", "0.9", "--json"
        ).stdout
    )
    folder = Path(row["folder"])
    assert folder.name.startswith("v2-") and folder.parent == workspace.artifacts / "router"
    assert json.loads((folder.parent / "current.json").read_text()) == {"version": folder.name}
    assert row["goal"] == {"precision": 0.9, "label": None, "confidence": 0.95}
    assert row["per_label"]["espresso"]["at_least"] >= 0.9
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["goal"] == row["goal"]
    assert manifest["calibrated_from"].startswith("v1-")
    assert (
        row["reference_renewed"]
        and Router.load(folder).reference
        != Router.load(folder.parent / manifest["calibrated_from"]).reference
    )
    assert Router.load(folder).thresholds == row["thresholds"]
    assert Router.load(folder, threshold=0.7).thresholds == dict.fromkeys(row["thresholds"], 0.7)


def test_coverage_written_elsewhere_serves_nobody(workspace: Workspace, lines: Path) -> None:
    out = lines.parent / "out"
    arguments = ("calibrate", "--data", lines, "--coverage", "0.5", "--out", out)
    shown = turnout_router(workspace, *arguments)
    assert shown.exit_code == 0 and "decided 50.0% of 288 queries" in shown.stdout
    assert [folder.name[:3] for folder in (workspace.artifacts / "router").glob("v*")] == ["v1-"]
    report = turnout_router(workspace, "eval", "--data", lines, "--model", out, "--json")
    assert json.loads(report.stdout)["coverage"] == pytest.approx(0.5)
    assert Cascade.load(out).first.version.startswith("v0-")


def test_costs_are_reported(workspace: Workspace, lines: Path) -> None:
    arguments = ("calibrate", "--data", lines, "--cost", "4:1", "--json")
    row = json.loads(turnout_router(workspace, *arguments).stdout)
    assert row["thresholds"] == {"espresso": 0.75, "general": 0.0, "library": 0.75}
    assert 0 <= row["mean_cost"] <= 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give one of --precision, --coverage and --cost"),
        (("--precision", "0.9", "--coverage", "0.9"), "give one of"),
        (("--coverage", "0.9", "--label", "espresso"), "--label goes with --precision"),
        (("--precision", "1"), "not in the range"),
        (("--cost", "5"), "not two numbers, such as 5:1"),
        (("--cost", "1:5"), "must cost more than abstaining"),
        (("--cost", "nan:1"), "must cost more than abstaining"),
        (("--precision", "0.99"), "a precision of 0.99 cannot be promised"),
        (("--precision", "0.9", "--label", "opera"), "'opera' is not a domain"),
    ],
)
def test_a_goal_that_cannot_be_is_refused(
    workspace: Workspace, lines: Path, arguments: tuple[str, ...], message: str
) -> None:
    result = turnout_router(workspace, "calibrate", "--data", lines, *arguments)
    assert result.exit_code == 2 and message in result.stderr
    assert len(list((workspace.artifacts / "router").glob("v*"))) == 1


def test_drift_tells_by_its_exit_code(workspace: Workspace, lines: Path, tmp_path: Path) -> None:
    turnout_router(workspace, "calibrate", "--data", lines, "--coverage", "1")
    same = turnout_router(workspace, "drift", "--data", lines, "--json")
    assert (same.exit_code, json.loads(same.stdout)["advice"]) == (0, "nothing")
    other = tmp_path / "other.jsonl"
    other.write_text('{"text": "quokka zyx"}\n' * 300)
    drifted = turnout_router(workspace, "drift", "--data", other)
    assert drifted.exit_code == 1
    assert "quokka 300" in drifted.stdout and "refit:" in drifted.stdout


def test_pictures(workspace: Workspace, lines: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    picture, drawing = tmp_path / "eval.PNG", tmp_path / "drift.svg"
    row = turnout_router(workspace, "eval", "--data", lines, "--plot", picture, "--json").stdout
    assert picture.read_bytes().startswith(PNG)
    report = json.loads(row)
    assert sum(each["n"] for each in report["bins"]) == 288
    assert len(report["risk_coverage"]) == 50
    assert report["risk_coverage"][-1]["coverage"] == 1
    turnout_router(workspace, "drift", "--data", lines, "--plot", drawing)
    assert ElementTree.parse(drawing) and "unknown words" in drawing.read_text()


@pytest.mark.parametrize(
    ("name", "message"),
    [("a.gif", "does not end in .svg or .png"), ("nowhere/a.svg", "could not be written: No such")],
)
def test_a_picture_that_cannot_be_written(
    workspace: Workspace, lines: Path, tmp_path: Path, name: str, message: str
) -> None:
    pytest.importorskip("matplotlib")
    result = turnout_router(workspace, "eval", "--data", lines, "--plot", tmp_path / name)
    assert result.exit_code == 2 and message in result.stderr


def test_without_matplotlib_the_error_says_what_to_install(
    workspace: Workspace, lines: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    result = turnout_router(workspace, "eval", "--data", lines, "--plot", tmp_path / "a.svg")
    assert result.exit_code == 2 and "pip install 'turnout[plots]'" in result.stderr
