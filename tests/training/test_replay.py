"""A version is trained again from its manifest, with the real model."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from adapters.cli.versions import adapters
from adapters.manifest import Manifest
from retrieval.documents import Document
from retrieval.encoder import StaticEncoder
from retrieval.ingest import ingest
from tests.training.conftest import write_chat
from tests.training.test_sft import Workspace
from training.cli.train import train as verb
from training.environment import differences
from training.rows import Row


@pytest.fixture
def workspace(
    pack: Path, rows: list[Row], base_model: Path, encoder_folder: Path, tmp_path: Path
) -> Workspace:
    """With a version that was trained on one thread, on little, a quarter of it with passages; of 4
    rows to be protected, 2 are examples as well."""
    write_chat(pack / "train.jsonl", rows[:16])
    write_chat(pack / "eval.jsonl", rows[16:36])
    guarded = [replace(row, task="sums") for row in (*rows[:2], *rows[36:38])]
    protect = write_chat(tmp_path / "guarded.jsonl", guarded)
    workspace = Workspace(tmp_path / "state", base_model, (pack,), (protect,))
    workspace.encoder, workspace.grounded_share = encoder_folder, 0.25
    ingest(
        [Document(id="valves", title="Valves", text="A valve that drips needs a new seal.")],
        domain="boiler",
        root=workspace.artifacts / "indexes",
        encoder=StaticEncoder.load(encoder_folder),
    )
    outcome = invoke(workspace, "boiler", "--epochs", "1", "--rank", "1", "--threads", "1")
    assert outcome.exit_code == 0, outcome.output
    return workspace


def invoke(workspace: Workspace, *options: str) -> Result:
    return CliRunner().invoke(verb, [*options, "--json"], obj=workspace)


def test_a_version_is_trained_again_bit_by_bit_or_what_differs_is_said(
    workspace: Workspace, tmp_path: Path
) -> None:
    (folder,) = (workspace.state / "artifacts/adapters/boiler").iterdir()
    manifest = Manifest.read(folder)
    weights = manifest.files["adapter_model.safetensors"]
    assert [(one.name, one.n) for one in manifest.capabilities] == [("sums", 4)]
    assert manifest.gate["leaked"] == {"the test part": 0, "sums": 0}
    assert set(manifest.gate["loss_per_token"]["sums"]) == {"candidate", "base"}
    assert manifest.data["evaluations"]["what is protected: sums"] == {
        "rows": 4,
        "copies_removed": 2,
        "leaked": 0,
    }
    assert manifest.data["index"] == manifest.gate["index"] is not None
    assert manifest.gate["grounded"]
    assert manifest.environment["threads"] == 1
    assert "# boiler: a LoRA adapter for" in (folder / "README.md").read_text()

    card = CliRunner().invoke(adapters, ["show", folder.name, "--card"], obj=workspace)
    assert card.stdout == (folder / "README.md").read_text()

    same = invoke(workspace, "--replay", folder.name)
    assert (same.exit_code, json.loads(same.stdout)) == (
        0,
        {
            "version": folder.name,
            "expected": weights,
            "found": weights,
            "differences": [],
            "same": True,
        },
    )

    facts = json.loads((folder / "manifest.json").read_text())
    facts["settings"]["seed"] += 1
    facts["environment"]["torch"] = "1.0"
    changed = tmp_path / "manifest.json"
    changed.write_text(json.dumps(facts))
    other = invoke(workspace, "--replay", str(changed))
    told: dict[str, Any] = json.loads(other.stdout)
    assert (other.exit_code, told["same"], told["expected"]) == (1, False, weights)
    now = manifest.environment["torch"]
    assert told["differences"] == [f"torch was 1.0, is {now}"]

    (run,) = workspace.state.glob("training/boiler-*")
    shutil.rmtree(run)
    gone = invoke(workspace, "--replay", folder.name)
    assert gone.exit_code == 1
    assert f"train rows {manifest.learned_from['train']}" in gone.stderr


def test_a_manifest_that_cannot_be_replayed_is_refused(base_model: Path, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "state", base_model, ())
    neither = invoke(workspace)
    both = invoke(workspace, "boiler", "--replay", "boiler--v1-00000000")
    assert (neither.exit_code, both.exit_code) == (2, 2)
    assert "name a DOMAIN to train for, a version with --replay, or a run" in neither.stderr


def test_what_is_not_as_it_was_is_named() -> None:
    then = {"torch": "2.12", "threads": 1, "gone": "x"}
    assert differences(then, {"torch": "2.13", "threads": 1, "device": "cpu"}) == [
        "device was not recorded, is cpu",
        "gone was x, is not there",
        "torch was 2.12, is 2.13",
    ]
    assert differences(then, then) == []
