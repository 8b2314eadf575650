"""Learning on Ray's workers: the same as in one process, also when one of them is killed."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from benchmarks.ray_training import LoseOne
from tests.serving import free_socket
from tests.training.test_sft import Workspace
from training.cli.train import train as verb
from training.curation.split import Split
from training.errors import RunFailed, TooFewRows
from training.launchers.ray import RayLauncher, _Task, _work
from training.learning.learn import learn
from training.learning.parallel import share
from training.learning.sft import ADAPTER, LOG, SftSettings
from training.progress import Silence
from training.rows import Row

SETTINGS = SftSettings(epochs=4, learning_rate=3e-3, patience=4)


@pytest.fixture(scope="module")
def tiny(base_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of two small layers that knows nothing."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    tokenizer = AutoTokenizer.from_pretrained(str(base_model))
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    shape = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(shape).to(torch.bfloat16).save_pretrained(folder)
    return folder


@pytest.fixture
def parts(rows: list[Row]) -> Split:
    """43 rows to learn from, so that the last batches cannot be halved, and 9 to validate on."""
    return Split(tuple(rows[:43]), tuple(rows[43:52]), (), (), "row")


def losses(folder: Path) -> dict[int, float]:
    """The training loss of each step as it was logged last."""
    lines = map(json.loads, (folder / LOG).read_text().splitlines())
    return {line["step"]: line["loss"] for line in lines if "loss" in line}


@pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context")  # its own defaults
def test_two_workers_one_of_them_killed_learn_what_one_process_does(
    tiny: Path, parts: Split, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alone, together = tmp_path / "alone", tmp_path / "together"
    alone.mkdir(), together.mkdir()
    torch.set_num_threads(1)
    expected = learn(tiny, parts, SETTINGS, alone, Silence())
    loss = LoseOne(together)
    trained = RayLauncher(2)(tiny, parts, SETTINGS, together, loss)
    assert loss.killed
    assert (trained.steps, trained.stopped) == (expected.steps, "epochs") == (24, "epochs")
    assert trained.validation_loss == pytest.approx(expected.validation_loss, abs=0.02)
    assert trained.validation_exact == pytest.approx(expected.validation_exact, abs=0.12)
    assert losses(together) == pytest.approx(losses(alone), abs=0.05)
    assert {file.name for file in (together / ADAPTER).iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
    }
    assert not list(together.glob("ray-*"))
    assert not capsys.readouterr().out  # is the result's


def test_every_row_is_one_workers_and_workers_stay_in_step() -> None:
    lines = [{"input_ids": [number, 7], "answer_at": 1} for number in range(3)]
    assert share(lines, 0, 2) == [lines[0], lines[2]]
    assert share(lines, 1, 2) == [lines[1], {"input_ids": [0, 7], "answer_at": 2}]
    assert share(lines, 0, 1) == lines


def test_what_no_other_try_would_change_is_not_tried_again(
    tiny: Path, parts: Split, tmp_path: Path
) -> None:
    task = _Task(tiny, parts, SftSettings(max_length=1), tmp_path, threads=1)
    assert isinstance(_work({"task": task}), TooFewRows)


def test_a_worker_that_does_not_see_the_folder_says_so(tiny: Path, parts: Split) -> None:
    task = _Task(tiny, parts, SETTINGS, Path("/not/shared"), threads=1)
    with pytest.raises(RunFailed, match="does not see /not/shared: keep the base model and the"):
        _work({"task": task})


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a cluster with one processor."""
    with free_socket() as bound:
        port = bound.getsockname()[1]
    command = [
        str(Path(sys.executable).with_name("ray")),
        *("start", "--head", "--block", "--num-cpus=1", "--include-dashboard=false"),
        *(f"--port={port}", "--node-ip-address=127.0.0.2", "--object-store-memory=100000000"),
        "--disable-usage-stats",
    ]
    environment = os.environ | {"RAY_AUTH_MODE": "disabled"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    for line in process.stdout:
        if "--block" in line:
            break
    yield f"127.0.0.2:{port}"
    process.terminate()
    process.stdout.close()
    process.wait()


def test_a_cluster_too_small_is_told(
    cluster: str, tiny: Path, parts: Split, tmp_path: Path
) -> None:
    with pytest.raises(RunFailed, match="has 1 processors, 2 workers of 1 need 2"):
        RayLauncher(2, cluster)(tiny, parts, SETTINGS, tmp_path, Silence())


def test_options_of_ray_need_its_launcher(tmp_path: Path, base_model: Path) -> None:
    workspace = Workspace(tmp_path / "state", base_model, ())
    outcome = CliRunner().invoke(verb, ["boiler", "--workers", "2"], obj=workspace)
    assert outcome.exit_code == 2
    assert "--workers and --ray-address go with --launcher ray" in outcome.output


def test_a_missing_ray_says_what_to_install(
    tmp_path: Path, base_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "training.launchers.ray")
    workspace = Workspace(tmp_path / "state", base_model, ())
    outcome = CliRunner().invoke(verb, ["boiler", "--launcher", "ray"], obj=workspace)
    assert outcome.exit_code == 1
    assert "pip install 'turnout[ray]'" in outcome.output
