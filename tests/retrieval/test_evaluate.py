import math
from pathlib import Path

import pytest

from retrieval.documents import Document, read_documents
from retrieval.encoder import StaticEncoder
from retrieval.errors import DocumentError
from retrieval.evaluate import evaluate, ndcg, read_judgements, recall, reciprocal_rank


def test_measures_by_hand() -> None:
    ranking, relevant = ["a", "b", "c"], {"b": 1.0, "x": 1.0}
    assert recall(ranking, relevant, 1) == 0
    assert recall(ranking, relevant, 5) == 0.5
    assert reciprocal_rank(ranking, relevant) == 0.5
    ideal = 1 + 1 / math.log2(3)
    assert ndcg(ranking, relevant) == pytest.approx((1 / math.log2(3)) / ideal)
    assert ndcg(["b", "x"], relevant) == pytest.approx(1)
    assert reciprocal_rank([], relevant) == ndcg([], relevant) == 0


def test_the_report_has_the_shape_others_read(encoder: StaticEncoder) -> None:
    documents = [
        Document("pump", "Pump", "A loud pump has air in it."),
        Document("scale", "Scale", "Descale the boiler."),
    ]
    judged = {"why is my pump loud": {"pump": 1.0}, "boiler descaling": {"scale": 1.0}}
    row = evaluate(documents, judged, encoder).as_json()
    assert row.pop("latency_ms").keys() == {"p50", "p99"}
    assert row == {
        "n_queries": 2,
        "n_documents": 2,
        "recall": {"1": 1.0, "5": 1.0, "10": 1.0},
        "ndcg10": pytest.approx(1),
        "mrr10": 1.0,
    }


def test_judgements_are_gathered_by_query(tmp_path: Path) -> None:
    file = tmp_path / "qrels.jsonl"
    file.write_text(
        '{"query": "q", "doc_id": "a", "relevance": 2}\n'
        '{"query": "q", "doc_id": "b"}\n{"query": "q", "doc_id": "c", "relevance": 0}\n'
    )
    assert read_judgements(file) == {"q": {"a": 2.0, "b": 1.0}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"query": "q", "doc_id": "a"}\n{"query": "q"}', "qrels.jsonl:2: expected"),
        ("[]", "qrels.jsonl:1: expected"),
        ('{"query": "q", "doc_id": "a", "relevance": "x"}', "qrels.jsonl:1: expected"),
        ('{"query": "q", "doc_id": "a", "relevance": NaN}', "qrels.jsonl:1: expected"),
        ("", "holds no judged query"),
    ],
)
def test_bad_judgements_are_named(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "qrels.jsonl").write_text(content)
    with pytest.raises(DocumentError) as caught:
        read_judgements(tmp_path / "qrels.jsonl")
    assert message in str(caught.value)


@pytest.mark.data
def test_legal_documents_are_found(encoder: StaticEncoder, data: Path) -> None:
    documents = read_documents(data / "legal" / "documents.jsonl")
    judged = read_judgements(data / "legal" / "qrels.jsonl")
    report = evaluate(documents, judged, encoder)
    assert report.ndcg10 > 0.80
    assert report.recall[10] > 0.97
