"""Fit, artefact, decisions and the command, on prompts whose need a reader can see."""

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from router.cli import router as router_group
from router.errors import ArtefactError, FitError
from router.fitting.embeddings import PieceEmbeddings
from router.tiers.artefact import publish, write
from router.tiers.data import Pairs, read_pairs
from router.tiers.fit import FittedTiers, fit
from router.tiers.model import MANIFEST, TierModel
from tests.router.tiers.lines import write_lines

SUM, VERSE = "Solve the equation 31x + 2 = 95 for x", "Write a short poem about the moon"


@dataclass(frozen=True)
class Workspace:
    artifacts: Path
    encoder: Path


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Pairs:
    return read_pairs(write_lines(tmp_path_factory.mktemp("tiers") / "lines.jsonl"))


@pytest.fixture(scope="module")
def fitted_tiers(pairs: Pairs, embeddings: PieceEmbeddings) -> FittedTiers:
    return fit(pairs, embeddings)


@pytest.fixture
def model(fitted_tiers: FittedTiers, tmp_path: Path) -> TierModel:
    return TierModel.load(publish(fitted_tiers, tmp_path / "tiers"))


def test_it_tells_what_only_the_strong_model_can_do(model: TierModel) -> None:
    assert model.gain(SUM) > 0.7 > 0.3 > model.gain(VERSE)
    left_out = model.manifest.left_out
    # Half of the lines gain: nothing does better than 0.75, and half the calls recover everything.
    assert left_out == pytest.approx({"apgr": 0.75, "cpt50": 0.25, "cpt80": 0.4})


def test_served_gains_are_those_of_the_fit(
    fitted_tiers: FittedTiers, model: TierModel, pairs: Pairs, embeddings: PieceEmbeddings
) -> None:
    fewer = fit(pairs, embeddings, whole_words=False)
    assert np.allclose(fewer.gains, fitted_tiers.gains)
    fit_gains = np.array([model.gain(prompt) for prompt in pairs.prompts])
    assert np.allclose(fit_gains, pairs.gains, atol=0.2)


def test_a_share_of_calls_is_a_threshold(model: TierModel, pairs: Pairs) -> None:
    threshold = model.threshold_at(0.5)
    assert np.mean([model.gain(prompt) >= threshold for prompt in pairs.prompts]) == 0.5
    assert (model.threshold_at(0), model.threshold_at(1)) == (math.inf, -math.inf)
    assert model.threshold_at(0.25) > threshold > model.threshold_at(0.75)


@pytest.mark.parametrize(
    "text", ["", "   ", "\ud800", "漢字だけ", "x" * 1_000_000, "?" * 5000, "7\x00"]
)
def test_any_text_has_a_gain(model: TierModel, text: str) -> None:
    assert -3 < model.gain(text) < 3


def test_versions_count_up_and_explain_themselves(
    fitted_tiers: FittedTiers, tmp_path: Path
) -> None:
    first, second = (publish(fitted_tiers, tmp_path) for _ in range(2))
    assert [first.name[:3], second.name[:3]] == ["v1-", "v2-"]
    assert json.loads((tmp_path / "current.json").read_text()) == {"version": second.name}
    manifest = TierModel.load(second).manifest
    assert (manifest.n, manifest.version) == (40, second.name)
    assert manifest.gains == sorted(manifest.gains) and len(manifest.gains) == 101


def test_a_folder_of_something_else_is_left_alone(
    fitted_tiers: FittedTiers, router_folder: Path
) -> None:
    with pytest.raises(ArtefactError, match="choose another folder"):
        write(fitted_tiers, router_folder)
    with pytest.raises(ArtefactError, match="make one with: turnout router tiers fit"):
        TierModel.load(router_folder)


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"format": 1}'])
def test_a_broken_manifest(fitted_tiers: FittedTiers, tmp_path: Path, content: str) -> None:
    folder = write(fitted_tiers, tmp_path / "broken")
    (folder / MANIFEST).write_text(content)
    with pytest.raises(ArtefactError, match="run `turnout router tiers fit` again"):
        TierModel.load(folder)


def test_too_little_to_learn_from(pairs: Pairs, embeddings: PieceEmbeddings) -> None:
    with pytest.raises(FitError, match="19 lines are too few"):
        fit(pairs.at(np.arange(19)), embeddings)
    with pytest.raises(FitError, match="on all lines the strong score is 1 over the weak one"):
        fit(pairs.at(np.arange(0, 40, 2)), embeddings)


def turnout_tiers(workspace: Workspace, *arguments: str | Path) -> Result:
    words = ["tiers", *map(str, arguments)]
    return CliRunner().invoke(router_group, words, obj=workspace)


def test_fit_then_eval(tmp_path: Path, encoder_folder: Path) -> None:
    workspace = Workspace(tmp_path / "artifacts", encoder_folder)
    data, picture = write_lines(tmp_path / "lines.jsonl"), tmp_path / "curve.svg"
    fitted = json.loads(turnout_tiers(workspace, "fit", "--data", data, "--json").stdout)
    assert Path(fitted["folder"]) == workspace.artifacts / "tiers" / fitted["version"]
    command = ("eval", "--data", data, "--plot", picture)
    found = json.loads(turnout_tiers(workspace, *command, "--json").stdout)
    assert (found["n"], found["apgr"], found["cpt50"]) == pytest.approx((40, 0.75, 0.25))
    assert found["curve"][50]["cost"] == pytest.approx(5.5)
    assert picture.read_text().count("share of calls to the strong model") == 1
    shown = turnout_tiers(workspace, *command).stdout
    assert "APGR 0.750" in shown and "strong calls" in shown


def test_wrong_use_is_told_in_one_line(tmp_path: Path, encoder_folder: Path) -> None:
    workspace = Workspace(tmp_path / "artifacts", encoder_folder)
    data = write_lines(tmp_path / "lines.jsonl")
    for arguments, message in (
        (("eval", "--data", data), "there is no tier model yet"),
        (("eval", "--data", data, "--plot", "a.pdf"), "does not end in .svg or .png"),
        (("fit", "--data", tmp_path / "none"), "cannot be read"),
    ):
        result = turnout_tiers(workspace, *arguments)
        assert result.exit_code == 2 and message in result.stderr
