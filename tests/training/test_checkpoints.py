"""A run that was killed goes on as if nothing had happened."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from adapters.artifacts import Artifacts
from adapters.registry import Registry
from adapters.store import Store
from tests.conftest import ROOT
from tests.serving import wait_for
from tests.training.conftest import write_chat
from tests.training.test_sft import Workspace
from training.cli.train import train as verb
from training.curation.curate import Filters
from training.curation.split import Split
from training.learning.checkpoints import admit, aside, clear, newest
from training.learning.learn import learn
from training.learning.sft import SftSettings
from training.learning.watch import Trained
from training.progress import Silence
from training.rows import Row, read_chat
from training.run import Job, run

WEIGHTS = Path("adapter/adapter_model.safetensors")
SETTINGS = SftSettings(rank=1, epochs=2, batch_size=4)
# Saves after every step.
PROGRAM = """
import sys
from pathlib import Path
import torch
from tests.training.test_checkpoints import SETTINGS, parts_of
from training.learning import watch
from training.learning.learn import learn
from training.progress import Silence
from training.rows import read_chat
watch._SAVE_SECONDS = 0.0
torch.set_num_threads(1)
base, rows, folder = map(Path, sys.argv[1:])
learn(base, parts_of(read_chat(rows)), SETTINGS, folder, Silence())
"""


def parts_of(rows: list[Row]) -> Split:
    """16 rows to train on, four to validate on."""
    return Split(tuple(rows[:16]), tuple(rows[16:20]), (), (), "nothing")


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Sums do not depend on the machine's processors."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_a_checkpoint_counts_when_it_is_whole(tmp_path: Path) -> None:
    assert newest(tmp_path) is None
    for step in (8, 9, 10, 11):
        (aside(tmp_path) / f"checkpoint-{step}").mkdir(parents=True)
        if step < 11:
            admit(tmp_path, f"checkpoint-{step}")
    (tmp_path / "checkpoint-old").mkdir()
    assert newest(tmp_path) == tmp_path / "checkpoint-10"
    assert not (tmp_path / "checkpoint-8").exists()
    clear(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-old"]


def test_a_killed_run_ends_with_the_same_weights(
    one_thread: None, rows: list[Row], base_model: Path, tmp_path: Path
) -> None:
    """SIGKILL in the middle of the second epoch: bit for bit, and each step is in the log once."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for folder in (whole, cut):
        folder.mkdir()
    chat = write_chat(tmp_path / "rows.jsonl", rows)
    parts = parts_of(read_chat(chat))
    expected = learn(base_model, parts, SETTINGS, whole, Silence())
    command = [sys.executable, "-c", PROGRAM, str(base_model), str(chat), str(cut)]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) as process:
        wait_for((cut / "checkpoint-5").exists, "a checkpoint", 240)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    (aside(cut) / "checkpoint-9").mkdir(parents=True, exist_ok=True)
    found = learn(base_model, parts, SETTINGS, cut, Silence(), resume=True)
    assert (cut / WEIGHTS).read_bytes() == (whole / WEIGHTS).read_bytes()
    for name in ("steps", "epochs", "rows", "train_loss", "validation_loss", "best_epoch"):
        assert getattr(found, name) == getattr(expected, name)
    assert _steps(cut) == _steps(whole)
    assert [step for step, _ in _steps(cut)] == [1, 2, 3, 4, 4, 5, 6, 7, 8, 8]
    again = learn(base_model, parts, SETTINGS, cut, Silence(), resume=True)
    assert replace(again, seconds=found.seconds) == found
    assert (cut / WEIGHTS).read_bytes() == (whole / WEIGHTS).read_bytes()


def _steps(folder: Path) -> list[tuple[int, float]]:
    lines = map(json.loads, (folder / "log.jsonl").read_text().splitlines())
    return [(line["step"], line.get("loss", line.get("validation_loss"))) for line in lines]


class Cut(Exception):
    """What ends a run here, where it would learn."""


def test_a_run_goes_on_with_the_dataset_it_began_with(
    rows: list[Row], pack: Path, base_model: Path, tmp_path: Path
) -> None:
    seen: list[tuple[Split, bool]] = []

    def launch(*arguments: Any, resume: bool = False) -> Trained:
        seen.append((arguments[1], resume))
        raise Cut

    write_chat(pack / "eval.jsonl", rows[:12])
    held_out = write_chat(tmp_path / "held-out.jsonl", rows[12:20])
    folder = tmp_path / "run"
    job = Job("boiler", base_model, folder, (pack,), validation=held_out, settings=SETTINGS)
    job = replace(job, filters=Filters(general_share=0))
    store = Store(f"sqlite:///{tmp_path}/turnout.db")
    registry = Registry(store, Artifacts(tmp_path / "artifacts", tmp_path / "cache"))

    def tried(job: Job) -> Split:
        with pytest.raises(Cut):
            run(job, store, registry, Silence(), launch)
        return seen[-1][0]

    first = tried(job)
    assert [len(part) for part in (first.train, first.validation, first.test)] == [40, 8, 12]
    write_chat(pack / "train.jsonl", rows[:40])
    again = Job.read(folder)
    assert again == replace(job, resume=True)
    assert tried(again) == first and seen[-1][1]
    (folder / "prepared.json").write_bytes((folder / "prepared.json").read_bytes()[:-9])
    assert len(tried(again).train) == 20
    store.close()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("../elsewhere", "is not the name of a folder in"),
        ("nothing", "is no folder of a run: it has no arguments.json"),
        ("broken", "arguments.json cannot be read: "),
    ],
)
def test_only_a_run_can_be_resumed(base_model: Path, tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "training" / "broken").mkdir(parents=True)
    (tmp_path / "training" / "broken" / "arguments.json").write_text('{"domain": ')
    workspace = Workspace(tmp_path, base_model, ())
    refused = CliRunner().invoke(verb, ["--resume", name], obj=workspace)
    assert refused.exit_code == 2
    assert said in " ".join(refused.stderr.split())
    both = CliRunner().invoke(verb, ["boiler", "--resume", name], obj=workspace)
    assert both.exit_code == 2 and "or a run with --resume" in both.stderr
