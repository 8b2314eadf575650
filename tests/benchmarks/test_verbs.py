"""The verbs of `turnout bench`."""

import json
from dataclasses import dataclass
from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner

from adapters.packs import Pack, read_jsonl
from benchmarks.cli import bench
from tests.conftest import ROOT

VERBS = {
    "clients",
    "experiments",
    "flat",
    "gateway",
    "loop",
    "retrieval",
    "rollout",
    "router",
    "swap",
    "tiers",
    "training",
}


@dataclass(frozen=True)
class Workspace:
    encoder: Path
    packs: tuple[Path, ...] = ()


def test_every_benchmark_is_a_verb() -> None:
    assert set(bench.commands) == VERBS


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_explains_itself_and_speaks_json(verb: str) -> None:
    done = CliRunner().invoke(bench, [verb, "--help"])
    assert done.exit_code == 0
    assert "--json" in done.output


@pytest.mark.parametrize(
    "arguments", [["flat", "--only", "keys,nothing"], ["router", "--data", "x"]]
)
def test_a_mistake_is_named(arguments: list[str]) -> None:
    done = CliRunner().invoke(bench, arguments, obj=Workspace(Path("nowhere")))
    assert done.exit_code == 2
    assert "nothing" in done.output or "does not exist" in done.output


def test_router_against_its_budget(tmp_path: Path, encoder_folder: Path) -> None:
    rows = [row for _, row in read_jsonl(ROOT / "examples" / "general.jsonl")]
    for pack in ("espresso", "library"):
        rows += Pack.load(ROOT / "examples" / pack).routing_examples()
    (tmp_path / "routing").mkdir()
    for name, chosen in (("train", rows), ("eval", rows[::2])):
        lines = [orjson.dumps({**row, "source": "examples"}).decode() for row in chosen]
        (tmp_path / "routing" / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    home = tmp_path / "home"
    home.symlink_to("nowhere/at/all")
    options = ["--data", str(tmp_path), "--home", str(home), "--json"]
    done = CliRunner(catch_exceptions=False).invoke(
        bench, ["router", *options], obj=Workspace(encoder_folder)
    )
    found = json.loads(done.stdout)
    assert found["router"]["accuracy"] > 0.9
    assert {name: row["accuracy"] > 0.9 for name, row in found["peers"].items()} == {
        "TF-IDF with LR": True,
        "MiniLM with LR": True,
    }
    assert found["missing"].keys() == {"semantic-router"}
    assert "cannot be installed" in found["missing"]["semantic-router"]
    assert set(found["decide_us"]) == {"15", "150", "1500"}
    short, long = found["decide_us"]["15"], found["decide_us"]["1500"]
    assert (short["budget"], long["budget"]) == (60, 250)
    assert 0 < short["least"] <= short["p50"] <= short["p99"]
    assert done.exit_code == (0 if short["kept"] and long["kept"] else 1)
