"""The example packs are what they promise: enough of everything, and tests unlike the training."""

import json
from pathlib import Path

import pytest

from adapters.packs import Pack
from retrieval.documents import read_documents
from tests.conftest import ROOT
from training.curation.split import leaked
from training.rows import read_chat

PACKS = ("espresso", "library")


@pytest.mark.parametrize("name", PACKS)
def test_a_pack_has_enough_of_everything(name: str) -> None:
    pack = Pack.load(ROOT / "examples" / name)
    assert pack.documents and pack.train and pack.eval
    assert 60 <= len(read_documents(pack.documents)) <= 150
    assert len(list(read_chat(pack.train))) >= 150
    assert len(list(read_chat(pack.eval))) >= 50


@pytest.mark.parametrize("name", PACKS)
def test_evaluation_rows_are_not_training_rows(name: str) -> None:
    pack = Pack.load(ROOT / "examples" / name)
    assert pack.train and pack.eval
    assert leaked(list(read_chat(pack.train)), list(read_chat(pack.eval))) == 0


@pytest.mark.parametrize("name", PACKS)
def test_every_question_points_to_a_document(name: str) -> None:
    folder = ROOT / "examples" / name
    known = {document.id for document in read_documents(folder / "documents")}
    lines = (folder / "questions.jsonl").read_text().splitlines()
    assert {json.loads(line)["doc_id"] for line in lines} <= known


def test_general_queries_are_labelled_general() -> None:
    lines = Path(ROOT / "examples" / "general.jsonl").read_text().splitlines()
    assert {json.loads(line)["label"] for line in lines} == {"general"}
    assert len(lines) >= 300
