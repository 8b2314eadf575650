"""What a run logs becomes events, each once, also over restarts and times without a store."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.job import EventKind, TrainingRequest
from adapters.jobs import JobBook
from adapters.store import Store
from training.service.diary import Diary, Stopped


@pytest.fixture
def book(tmp_path: Path) -> Iterator[JobBook]:
    store = Store(f"sqlite:///{tmp_path}/turnout.db")
    yield JobBook(store)
    store.close()


def log(folder: Path, *lines: dict[str, float], rest: str = "") -> None:
    folder.mkdir(exist_ok=True)
    with (folder / "log.jsonl").open("a") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)
        file.write(rest)


def test_steps_and_checkpoints_become_events_once(book: JobBook, tmp_path: Path) -> None:
    job, folder = book.add(TrainingRequest("boiler", "boiler"), "key_1").id, tmp_path / "run"
    diary = Diary(book, job, folder)
    diary.stage("train")
    log(folder, {"step": 1, "loss": 2.0, "lr": 0.1, "tokens_per_second": 9.0}, rest='{"step": 2,')
    diary.write()
    log(folder, rest=' "loss": 1.5}\n')
    log(folder, {"step": 2, "validation_loss": 1.25})
    (folder / "checkpoint-2").mkdir()
    diary.write()
    (folder / "checkpoint-2" / "trainer_state.json").write_text("{}")
    diary.write()
    told = [(e.kind, e.message) for e in book.events(job, list(EventKind))][::-1][1:]
    assert told == [
        (EventKind.MESSAGE, "The run is to train."),
        (EventKind.METRICS, "Step 1: training loss=2.0000"),
        (EventKind.METRICS, "Step 2: training loss=1.5000"),
        (EventKind.METRICS, "Step 2: validation loss=1.2500"),
        (EventKind.CHECKPOINT, "Checkpoint at step 2."),
    ]
    (mark,) = book.events(job, [EventKind.CHECKPOINT])
    assert (mark.data["step"], mark.data["train_loss"], mark.data["valid_loss"]) == (2, 1.5, 1.25)
    again = Diary(book, job, folder)
    again.write()
    (folder / "log.jsonl").rename(folder / "lost.jsonl")
    log(folder, *({"step": step, "loss": 1.0} for step in (1, 2, 3, 4)))
    again.write()
    assert len(book.events(job, [EventKind.CHECKPOINT])) == 1
    steps = [event.data["step"] for event in book.events(job, [EventKind.METRICS])]
    assert steps == [4, 3, 2, 2, 1]


def test_a_run_that_nobody_wants_is_stopped(book: JobBook, tmp_path: Path) -> None:
    job = book.add(TrainingRequest("boiler", "boiler"), "key_1").id
    wanted = [True]
    diary = Diary(book, job, tmp_path, lambda: not wanted[0])
    diary.advance(1, 2, {})
    wanted[0] = False
    log(tmp_path, {"step": 3, "loss": 1.0})
    with pytest.raises(Stopped):
        diary.advance(1, 2, {})
    assert len(book.events(job, [EventKind.METRICS])) == 1
    with pytest.raises(Stopped):
        diary.stage("evaluate")
