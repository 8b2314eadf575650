"""Files and fine-tuning jobs over HTTP: OpenAI's client, everybody's rights, and input of every bad
kind. What a worker makes of a job is in tests/training/test_worker.py."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from openai import BadRequestError, NotFoundError, OpenAI

from adapters.job import EventKind, Note
from adapters.jobs import JobBook
from gateway.configuration import ConfigurationError, load
from tests.fakes.vllm import FakeVllm
from tests.gateway.harness import Running, assert_error, running
from training.service.triggers import Rules

CHAT = json.dumps(
    {
        "messages": [
            {"role": "user", "content": "hello"},
            {"role": "assistant", "content": "hi"},
        ]
    }
)
THUMB = json.dumps({"prompt": "hello", "completion": "hi", "label": True})
PAIR = json.dumps({"prompt": "hello", "chosen": "hi", "rejected": "no"})


@contextmanager
def user(gateway: Running) -> Iterator[OpenAI]:
    """A client with a key of the role `user`."""
    secret = gateway.admin("POST", "/keys", json={"name": "app"}).json()["secret"]
    with OpenAI(base_url=f"{gateway.url}/v1", api_key=secret, max_retries=0) as client:
        yield client


def upload(client: OpenAI, text: str = CHAT, name: str = "train.jsonl") -> str:
    return client.files.create(file=(name, text.encode()), purpose="fine-tune").id


def test_files_are_kept_as_they_came(gateway: Running) -> None:
    text = f"{CHAT}\n{PAIR}\n\n{CHAT}\n"
    made = gateway.openai.files.create(
        file=("../../train.jsonl", text.encode()), purpose="fine-tune"
    )
    assert (made.filename, made.bytes, made.purpose) == ("train.jsonl", len(text), "fine-tune")
    assert (made.object, made.status) == ("file", "processed")
    assert made.model_extra == {"examples": {"preference": 1, "sft": 2}}
    assert gateway.openai.files.retrieve(made.id) == made
    assert gateway.openai.files.content(made.id).text == text
    second = upload(gateway.openai)
    assert [one.id for one in gateway.openai.files.list(limit=1)] == [second, made.id]
    assert [one.id for one in gateway.openai.files.list(order="asc")] == [made.id, second]
    assert list(gateway.openai.files.list(purpose="batch")) == []
    assert gateway.openai.files.delete(made.id).model_dump() == {
        "id": made.id,
        "deleted": True,
        "object": "file",
    }
    with pytest.raises(NotFoundError):
        gateway.openai.files.content(made.id)
    (left,) = (gateway.settings.state / "artifacts" / "uploads").iterdir()
    assert left.name == f"{second}.jsonl"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "bad.jsonl: the file holds no example"),
        (b"not json", "bad.jsonl:1: not valid JSON"),
        (f"{CHAT}\n{{}}".encode(), 'bad.jsonl:2: expected "messages"'),
        (b"\xff\xfe\x00", "bad.jsonl: not UTF-8 text"),
        (CHAT[: len(CHAT) // 2].encode(), "bad.jsonl:1: not valid JSON"),
    ],
)
def test_a_file_without_examples_is_refused(gateway: Running, content: bytes, said: str) -> None:
    with pytest.raises(BadRequestError) as refused:
        gateway.openai.files.create(file=("bad.jsonl", content), purpose="fine-tune")
    assert refused.value.code == "invalid_file" and refused.value.param == "file"
    assert said in refused.value.message
    assert list(gateway.openai.files.list()) == []
    assert list((gateway.settings.state / "artifacts" / "uploads").iterdir()) == []


def test_a_body_that_is_no_upload_is_refused(gateway: Running) -> None:
    def post(**body: Any) -> httpx2.Response:
        return gateway.http.post("/v1/files", **body)

    file = ("a.jsonl", CHAT.encode())
    broken = {"content-type": "multipart/form-data; boundary=x"}
    two = [("file", file), ("file", file)]
    assert "purpose" in assert_error(post(files={"file": file}), 400)
    assert "purpose" in assert_error(post(files={"file": file}, data={"purpose": "vision"}), 400)
    assert_error(post(files={"f": file}, data={"purpose": "fine-tune"}), 400)
    assert_error(post(files=two, data={"purpose": "fine-tune"}), 400)
    assert "multipart" in assert_error(post(json={"purpose": "fine-tune"}), 400)
    assert "multipart" in assert_error(post(content=b"--y", headers=broken), 400)
    nothing = {"content-type": "multipart/form-data"}
    assert "boundary" in assert_error(post(content=b"x", headers=nothing), 400)
    assert_error(post(content=b"", headers={"authorization": "Bearer nobody"}), 401)


def test_sizes_are_bounded(
    tmp_path: Path, artifacts: Path, encoder_folder: Path, engine: FakeVllm
) -> None:
    limits = {"file_bytes": 100_000, "key_bytes": 150_000, "jobs_per_key": 2}
    with running(tmp_path, artifacts, encoder_folder, engine, training=limits) as gateway:
        large = CHAT + " " * 99_000
        kept = upload(gateway.openai, large)
        full = {"files": {"file": ("a", large.encode())}, "data": {"purpose": "fine-tune"}}
        assert_error(gateway.http.post("/v1/files", **full), 400, "quota_exceeded")
        full["files"] = {"file": ("a", b" " * 100_001)}
        assert_error(gateway.http.post("/v1/files", **full), 413, "file_too_large")
        full["files"] = {"file": ("a", b" " * 5_000_000)}
        assert_error(gateway.http.post("/v1/files", **full), 413, "file_too_large")
        body = {"model": "espresso", "training_file": kept}
        for _ in range(2):
            assert gateway.http.post("/v1/fine_tuning/jobs", json=body).status_code == 200
        refused = gateway.http.post("/v1/fine_tuning/jobs", json=body)
        assert "2 open jobs (training.jobs_per_key)" in assert_error(refused, 429, "rate_limited")
        assert refused.headers["retry-after"] == "60"


def test_users_see_their_own_and_admins_all(gateway: Running) -> None:
    with user(gateway) as mine, user(gateway) as other:
        file = upload(mine)
        job = mine.fine_tuning.jobs.create(model="espresso", training_file=file)
        assert [one.id for one in gateway.openai.files.list()] == [file]
        assert gateway.openai.fine_tuning.jobs.retrieve(job.id) == job
        assert list(other.files.list()) == [] and list(other.fine_tuning.jobs.list()) == []
        for attempt in (
            lambda: other.files.retrieve(file),
            lambda: other.files.content(file),
            lambda: other.files.delete(file),
            lambda: other.fine_tuning.jobs.retrieve(job.id),
            lambda: other.fine_tuning.jobs.cancel(job.id),
            lambda: other.fine_tuning.jobs.list_events(job.id),
            lambda: other.fine_tuning.jobs.checkpoints.list(job.id),
            lambda: other.fine_tuning.jobs.create(model="espresso", training_file=file),
        ):
            with pytest.raises(NotFoundError):
                attempt()
        assert gateway.openai.fine_tuning.jobs.cancel(job.id).status == "cancelled"
        assert not JobBook(gateway.store).job(job.id).request.challenge


def test_a_job_in_openais_shape(gateway: Running) -> None:
    jobs = gateway.openai.fine_tuning.jobs
    file, pairs = upload(gateway.openai), upload(gateway.openai, PAIR)
    dpo = jobs.create(
        model="tiny",
        suffix="library",
        training_file=pairs,
        validation_file=file,
        method={"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.5, "n_epochs": "auto"}}},
        metadata={"team": "a"},
    )
    assert (dpo.object, dpo.status, dpo.model) == ("fine_tuning.job", "queued", "tiny")
    assert dpo.model_extra is not None and dpo.model_extra["domain"] == "library"
    assert dpo.method is not None and dpo.method.dpo is not None
    assert dpo.method.dpo.hyperparameters is not None
    assert dpo.method.dpo.hyperparameters.to_dict() == {
        "n_epochs": "auto",
        "batch_size": "auto",
        "learning_rate_multiplier": "auto",
        "beta": 0.5,
    }
    plain = jobs.create(
        model="espresso", training_file=file, hyperparameters={"learning_rate_multiplier": 0.5}
    )
    assert plain.hyperparameters.learning_rate_multiplier == 0.5
    assert [one.id for one in jobs.list(limit=1)] == [plain.id, dpo.id]
    assert [one.id for one in jobs.list(metadata={"team": "a"})] == [dpo.id]
    assert jobs.pause(plain.id).status == "paused"
    assert jobs.resume(plain.id).status == "queued"
    assert jobs.cancel(plain.id).status == "cancelled"
    with pytest.raises(BadRequestError, match="is cancelled; this takes one that is paused"):
        jobs.resume(plain.id)
    book = JobBook(gateway.store)
    figures = {"step": 4, "train_loss": 0.5}
    book.note(dpo.id, [Note("Checkpoint.", EventKind.CHECKPOINT, data=figures)] * 3)
    marks = list(jobs.checkpoints.list(dpo.id, limit=2))
    assert len(marks) == 3 and marks[0].step_number == 4 and marks[0].metrics.train_loss == 0.5
    assert marks[0].fine_tuning_job_id == dpo.id
    (event,) = jobs.list_events(dpo.id)
    assert (event.level, event.type) == ("info", "message")


def test_a_method_of_our_own_for_thumbs(gateway: Running) -> None:
    pairs, thumbs = upload(gateway.openai, PAIR), upload(gateway.openai, THUMB)
    body = {
        "model": "espresso",
        "training_file": thumbs,
        "validation_file": thumbs,
        "method": {"type": "kto", "kto": {"hyperparameters": {"beta": 0.2}}},
    }
    made = gateway.http.post("/v1/fine_tuning/jobs", json=body).json()
    own = {"n_epochs": "auto", "batch_size": "auto", "learning_rate_multiplier": "auto"}
    assert made["method"] == {"type": "kto", "kto": {"hyperparameters": own | {"beta": 0.2}}}
    request = JobBook(gateway.store).job(made["id"]).request
    assert (request.method, request.beta) == ("kto", 0.2)
    for name in ("training_file", "validation_file"):
        refused = gateway.http.post("/v1/fine_tuning/jobs", json=body | {name: pairs})
        assert "kto examples, but 1 preference" in assert_error(refused, 400)


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"model": "nobody"}, "model"),
        ({"model": 5}, "model"),
        ({"model": "tiny"}, "suffix"),
        ({"model": "auto", "suffix": "nowhere"}, "suffix"),
        ({"training_file": None}, "training_file"),
        ({"training_file": ["x"]}, "training_file"),
        ({"seed": -1}, "seed"),
        ({"seed": True}, "seed"),
        ({"metadata": {"a": 1}}, "metadata.a"),
        ({"metadata": {str(n): "x" for n in range(17)}}, "metadata"),
        ({"metadata": {"a": "\0"}}, "metadata.a"),
        ({"suffix": "x" * 65}, "suffix"),
        ({"integrations": [{"type": "wandb"}]}, "integrations"),
        ({"surprise": 1}, "surprise"),
        ({"method": {"type": "reinforcement"}}, "method.type"),
        ({"method": {"type": "dpo"}}, None),
        (
            {"method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 0}}}},
            "method.supervised.hyperparameters.n_epochs",
        ),
        ({"hyperparameters": {"batch_size": "many"}}, "hyperparameters.batch_size"),
        ({"hyperparameters": {"learning_rate_multiplier": -1.0}}, None),
    ],
)
def test_a_job_that_makes_no_sense_is_refused(
    gateway: Running, change: dict[str, Any], param: str | None
) -> None:
    body = {"model": "espresso", "training_file": upload(gateway.openai), **change}
    refused = gateway.http.post("/v1/fine_tuning/jobs", json=body)
    assert_error(refused, 400)
    assert param is None or refused.json()["error"]["param"] == param
    assert gateway.http.get("/v1/fine_tuning/jobs").json()["data"] == []


def test_names_and_pages_that_lead_nowhere(gateway: Running) -> None:
    job = gateway.openai.fine_tuning.jobs.create(
        model="espresso", training_file=upload(gateway.openai)
    )
    get = gateway.http.get
    for path in ("/v1/files/nothing", "/v1/files/nothing/content", "/v1/fine_tuning/jobs/nothing"):
        assert_error(get(path), 404)
    for path in ("/v1/files/%00", "/v1/fine_tuning/jobs/%00"):
        assert_error(get(path), 404)
    assert_error(get("/v1/fine_tuning/jobs", params={"metadata[a]": "\0"}), 400)
    assert_error(get("/v1/files/..%2F..%2Fturnout.db/content"), 404)
    assert_error(get("/v1/files", params={"after": "file-nothing"}), 404)
    assert_error(get("/v1/files", params={"limit": 0}), 400)
    assert_error(get("/v1/fine_tuning/jobs", params={"after": "x"}), 404)
    assert_error(get(f"/v1/fine_tuning/jobs/{job.id}/events", params={"after": "x"}), 400)
    huge = "ftevent-" + "9" * 30
    assert_error(get(f"/v1/fine_tuning/jobs/{job.id}/events", params={"after": huge}), 400)
    unknown = {"model": "espresso", "training_file": "file-nothing"}
    assert_error(gateway.http.post("/v1/fine_tuning/jobs", json=unknown), 404)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("schedule = 'every monday'", "training.triggers.schedule: 'every monday' is not cron's"),
        ("only_between = '22-6'", "training.triggers.only_between"),
        ("feedback = 0", "training.triggers.feedback"),
        ("quiet = 1", "training.triggers.quiet: no such setting"),
    ],
)
def test_triggers_that_make_no_sense_stop_the_start(
    tmp_path: Path, setting: str, said: str
) -> None:
    config = tmp_path / "turnout.toml"
    config.write_text(f"[training.triggers]\n{setting}\n")
    with pytest.raises(ConfigurationError) as refused:
        load(config)
    assert said in str(refused.value)
    config.write_text("[training.triggers]\nschedule = '0 3 * * 1'\nonly_between = '22:00-06:00'\n")
    rules = Rules(**load(config).training.triggers.model_dump())
    assert (rules.schedule, rules.only_between) == ("0 3 * * 1", "22:00-06:00")
