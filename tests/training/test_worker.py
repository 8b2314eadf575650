"""The queue with everything real: the official client, a gateway, workers that train, and what
becomes of a job whose worker is killed."""

import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from openai import BadRequestError
from openai.types import FileObject
from openai.types.fine_tuning import FineTuningJob, FineTuningJobEvent

from tests.conftest import ROOT
from tests.fakes.vllm import FakeVllm
from tests.gateway.harness import KEY, Running, running
from tests.serving import wait_for
from tests.training.conftest import write_chat
from training.rows import Row

WAIT = 240.0
LEASE = "5"


@pytest.fixture
def gateway(
    pack: Path, base_model: Path, encoder_folder: Path, tmp_path: Path
) -> Iterator[Running]:
    """A gateway with the boilers' pack, whose engine serves the model that is trained on."""
    (tmp_path / "nothing").mkdir()
    (pack / "train.jsonl").rename(tmp_path / "train.jsonl")
    (pack / "queries.jsonl").write_text('{"text": "the pump drips", "label": "boiler"}\n')
    engine = FakeVllm(root=str(base_model))
    place = (tmp_path, tmp_path / "nothing", encoder_folder, engine)
    with running(*place, packs=[pack]) as ready:
        yield ready


@contextlib.contextmanager
def working(gateway: Running) -> Iterator[subprocess.Popen[bytes]]:
    """`turnout jobs work` on the gateway's state."""
    settings = gateway.settings
    config = settings.state / "worker.toml"
    guarded = [Row((("user", "2 + 2 ="),), "4")]
    few = write_chat(settings.state / "protected.jsonl", guarded)
    engine, (pack,) = settings.engines[0], settings.packs
    config.write_text(
        f'[training]\nprotect = ["{few}"]\n'
        f'[[engines]]\nname = "local"\nurls = {json.dumps(engine.urls)}\nmodel = "tiny"\n'
        '[[targets]]\nname = "general"\nengine = "local"\n'
        f'[[packs]]\npath = "{pack.path}"\nengine = "local"\n'
    )
    command = [sys.executable, "-m", "gateway", "jobs", "work", "--lease", LEASE, "--threads", "1"]
    command += ["--config", str(config), "--state", str(settings.state)]
    with (settings.state / "worker.log").open("ab") as log:
        process = subprocess.Popen(command, cwd=ROOT, stderr=log)
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def uploaded(gateway: Running, rows: list[Row], name: str) -> FileObject:
    path = write_chat(gateway.settings.state / name, rows)
    return gateway.openai.files.create(file=path, purpose="fine-tune")


def created(gateway: Running, rows: list[Row], epochs: int) -> FineTuningJob:
    return gateway.openai.fine_tuning.jobs.create(
        model="boiler",
        training_file=uploaded(gateway, rows[24:], "train.jsonl").id,
        validation_file=uploaded(gateway, rows[:24], "held-out.jsonl").id,
        method={
            "type": "supervised",
            "supervised": {"hyperparameters": {"n_epochs": epochs, "batch_size": 8}},
        },
        suffix="first",
        seed=1,
        metadata={"why": "test"},
    )


def events(gateway: Running, job: FineTuningJob) -> list[FineTuningJobEvent]:
    """Oldest first, page by page."""
    pages = gateway.openai.fine_tuning.jobs.list_events(job.id, limit=7)
    return list(pages)[::-1]


def steps(gateway: Running, job: FineTuningJob) -> list[int]:
    found = [event.data for event in events(gateway, job) if event.type == "metrics"]
    return [data["step"] for data in found if "train_loss" in data]  # type: ignore[index]


def tries(gateway: Running, job: FineTuningJob) -> int:
    return sum(event.message.startswith("Taken up by ") for event in events(gateway, job))


def state(gateway: Running, job: FineTuningJob) -> str:
    return gateway.openai.fine_tuning.jobs.retrieve(job.id).status


def is_over(gateway: Running, job: FineTuningJob, worker: subprocess.Popen[bytes]) -> bool:
    assert worker.poll() is None, "the worker ended: its log says why"
    return state(gateway, job) in ("succeeded", "failed")


def test_a_job_makes_a_model_that_answers(gateway: Running, rows: list[Row]) -> None:
    job = created(gateway, rows, epochs=3)
    assert (job.status, job.model, job.fine_tuned_model) == ("queued", "boiler", None)
    assert (job.seed, job.metadata) == (1, {"why": "test"})
    assert job.hyperparameters.n_epochs == 3
    with pytest.raises(BadRequestError, match=f"job {job.id} needs {job.training_file}"):
        gateway.openai.files.delete(job.training_file)
    with working(gateway) as worker:
        over = ("succeeded", "failed")
        wait_for(lambda: state(gateway, job) in over, "the job to end", WAIT)
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(20) == 0
    done = gateway.openai.fine_tuning.jobs.retrieve(job.id)
    assert (done.status, done.error) == ("succeeded", None)
    assert done.fine_tuned_model is not None and done.fine_tuned_model.startswith("boiler--v1-")
    assert done.trained_tokens is not None and done.trained_tokens > 1000
    gateway.wait_served(done.fine_tuned_model)
    answer = gateway.openai.chat.completions.create(
        model=done.fine_tuned_model, messages=[{"role": "user", "content": "it rattles"}]
    )
    assert answer.model == done.fine_tuned_model
    told = [event.message for event in events(gateway, job) if event.type == "message"]
    asked = "choose the base model's prompt"
    stages = [
        f"The run is to {name}." for name in ("curate", "train", asked, "evaluate", "publish")
    ]
    assert told[0].startswith("Created by key_") and told[1].startswith("Taken up by ")
    assert told[2:7] == stages
    assert told[7].startswith(f"{done.fine_tuned_model} may be served: better than base on fault")
    assert steps(gateway, job) == list(range(1, len(steps(gateway, job)) + 1))
    manifest = gateway.registry.version(done.fine_tuned_model).manifest
    assert manifest.data["rows"]["test"] == 24 and manifest.seeds == {"split": 1, "train": 1}
    counted = 'turnout_training_runs_total{domain="boiler",verdict="pass"} 1.0'
    wait_for(lambda: counted in gateway.metrics(), "the run to be counted")
    assert gateway.openai.files.delete(job.training_file).deleted


def test_a_killed_worker_loses_nothing_and_a_stopped_job_stops(
    gateway: Running, rows: list[Row]
) -> None:
    jobs = gateway.openai.fine_tuning.jobs
    job = created(gateway, rows, epochs=2)
    with working(gateway) as worker:
        wait_for(lambda: steps(gateway, job), "the first step", WAIT)
        worker.kill()
    assert state(gateway, job) == "running"
    with working(gateway) as worker:
        wait_for(lambda: tries(gateway, job) == 2, "the job to be taken up again", WAIT)
        before = len(steps(gateway, job))
        wait_for(lambda: len(steps(gateway, job)) > before, "a step of the second try", WAIT)
        assert jobs.pause(job.id).status == "paused"
        held = gateway.settings.state / "worker.log"
        wait_for(lambda: f"{job.id}: stopped" in held.read_text(), "the run to stop", 30)
        assert jobs.resume(job.id).status == "queued"
        wait_for(lambda: is_over(gateway, job, worker), "the job to end", WAIT)
        endless = created(gateway, rows, epochs=50)
        wait_for(lambda: steps(gateway, endless), "the first step", WAIT)
        assert jobs.cancel(endless.id).status == "cancelled"
        wait_for(lambda: f"{endless.id}: stopped" in held.read_text(), "the run to stop", 30)
    told = [event.message for event in events(gateway, job)]
    assert "Its worker was lost; another takes it up." in told
    assert tries(gateway, job) == 3
    assert [version.manifest.domain for version in gateway.registry.versions()] == ["boiler"]
    assert jobs.retrieve(endless.id).fine_tuned_model is None
    assert [one.id for one in jobs.list()] == [endless.id, job.id]
    assert KEY not in held.read_text()
