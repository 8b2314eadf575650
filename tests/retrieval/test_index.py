import json
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from retrieval.documents import Document
from retrieval.encoder import StaticEncoder, normalised
from retrieval.errors import EncoderError, IndexingError
from retrieval.index import FLAT_LIMIT, IndexManifest, PassageIndex
from retrieval.ingest import ingest
from retrieval.lexical import LexicalIndex, terms
from retrieval.passages import Passage
from retrieval.retriever import Retriever
from retrieval.versions import Pointer, rollback

COFFEE = [
    Document("pump", "Pump", "A loud pump has air in it; bleed it through the steam wand."),
    Document("scale", "Scale", "Descale the boiler when the flow becomes slow."),
    Document("grinder", "Grinder", "Burrs of the grinder last for 500 kilograms of beans."),
]


def passage(number: int, text: str = "") -> Passage:
    return Passage(f"d{number}#0", f"d{number}", "", text)


def test_nearest_on_a_circle_is_known() -> None:
    """Eight points on a circle, asked at 50 degrees: nearest are 45, then 90, then 0."""
    angles = np.radians(np.arange(0, 360, 45))
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    index = PassageIndex.build([passage(n) for n in range(8)], vectors)
    query = np.array([np.cos(np.radians(50)), np.sin(np.radians(50))], dtype=np.float32)
    found = index.search("", query, top_k=3, min_score=-1.0)
    assert [p.doc_id for p in found] == ["d1", "d2", "d0"]
    expected = 0.3 * np.cos(np.radians([5, 40, 50]))
    np.testing.assert_allclose([p.score for p in found], expected, atol=1e-6)


def test_the_graph_finds_what_the_flat_index_finds() -> None:
    random = np.random.default_rng(0)
    vectors = normalised(random.standard_normal((FLAT_LIMIT + 1, 16)).astype(np.float32))
    passages = [passage(n) for n in range(len(vectors))]
    graph = PassageIndex.build(passages, vectors)
    assert graph.kind == "hnsw"
    queries = vectors[:50]
    hits = [graph.search("", q, top_k=1, min_score=-1)[0].doc_id for q in queries]
    assert sum(hit == f"d{n}" for n, hit in enumerate(hits)) >= 48


def test_a_rare_word_is_found_whatever_the_vectors_say() -> None:
    vectors = np.eye(3, dtype=np.float32)
    texts = ["about boilers", "part number zx81", "about pumps"]
    index = PassageIndex.build([passage(n, t) for n, t in enumerate(texts)], vectors)
    query = normalised(np.array([[2.0, 1.0, 2.0]], dtype=np.float32))[0]
    found = index.search("where is the ZX81?", query, top_k=1, min_score=0.0)
    assert found[0].doc_id == "d1"


def test_lexical_scores_lie_between_zero_and_one() -> None:
    index = LexicalIndex.build(["slow flow", "slow", "loud pump", ""])
    scores = index.scores("slow flow")
    assert scores[0] == max(scores) and 0 < scores[1] < scores[0] < 1
    assert scores[2] == scores[3] == 0
    assert not index.scores("").any() and not index.scores("of the and").any()
    assert terms("The boilers' entries, gas; how?") == ["boiler", "entry", "gas"]


def test_ingest_writes_a_version_that_explains_itself(
    tmp_path: Path, encoder: StaticEncoder
) -> None:
    manifest = ingest(COFFEE, domain="coffee", root=tmp_path, encoder=encoder)
    assert manifest.version == f"v1-{manifest.data_digest[:8]}"
    assert (manifest.documents, manifest.passages, manifest.kind) == (3, 3, "flat")
    assert IndexManifest.read(tmp_path / "coffee" / manifest.version) == manifest
    assert Pointer.read(tmp_path / "coffee") == Pointer(manifest.version)
    assert sorted(f.name for f in (tmp_path / "coffee").iterdir()) == [
        "current.json",
        manifest.version,
    ]


def test_the_same_documents_make_no_new_version_and_the_same_bytes(
    tmp_path: Path, encoder: StaticEncoder
) -> None:
    first = ingest(COFFEE, domain="coffee", root=tmp_path / "a", encoder=encoder)
    assert ingest(COFFEE, domain="coffee", root=tmp_path / "a", encoder=encoder) == first
    ingest(COFFEE, domain="coffee", root=tmp_path / "b", encoder=encoder)
    for name in ("index.faiss", "lexical.safetensors", "vocabulary.json", "passages.jsonl"):
        files = [tmp_path / root / "coffee" / first.version / name for root in "ab"]
        assert files[0].read_bytes() == files[1].read_bytes()


def test_a_running_retriever_follows_ingest_and_rollback(
    tmp_path: Path, encoder: StaticEncoder, encoder_folder: Path
) -> None:
    retriever = Retriever(tmp_path, encoder_folder)
    assert retriever.search("coffee", "loud pump") == []
    first = ingest(COFFEE[:2], domain="coffee", root=tmp_path, encoder=encoder)
    retriever.refresh()
    assert retriever.search("coffee", "why is my pump loud?")[0].id == "pump#0"
    second = ingest(COFFEE, domain="coffee", root=tmp_path, encoder=encoder)
    assert retriever.versions() == {"coffee": first.version}
    retriever.refresh()
    assert retriever.versions() == {"coffee": second.version}
    assert retriever.search("coffee", "grinder burrs", top_k=1)[0].doc_id == "grinder"
    old = retriever.search("coffee", "grinder burrs", version=first.version)
    assert "grinder" not in {p.doc_id for p in old}
    assert rollback(tmp_path, "coffee") == Pointer(first.version)
    retriever.refresh()
    assert retriever.versions() == {"coffee": first.version}
    with pytest.raises(IndexingError, match="nothing before it"):
        rollback(tmp_path, "coffee")


def test_what_searching_takes_is_imported_with_the_first_index(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from retrieval.retriever import Retriever; "
        "Retriever(Path(sys.argv[1]), Path('/no/model')).refresh(); "
        "sys.exit(bool({'faiss', 'numpy', 'tokenizers'} & sys.modules.keys()))"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)


def test_a_broken_encoder_stops_the_start_but_nothing_that_runs(
    tmp_path: Path, encoder: StaticEncoder, caplog: pytest.LogCaptureFixture
) -> None:
    retriever = Retriever(tmp_path, tmp_path / "no-model")
    ingest(COFFEE, domain="coffee", root=tmp_path, encoder=encoder)
    retriever.refresh()
    assert retriever.versions() == {} and "model.safetensors is missing" in caplog.text
    with pytest.raises(EncoderError, match="model.safetensors is missing"):
        Retriever(tmp_path, tmp_path / "no-model")


def test_nothing_relevant_is_kept_out_by_the_least_score(
    tmp_path: Path, encoder: StaticEncoder, encoder_folder: Path
) -> None:
    ingest(COFFEE, domain="coffee", root=tmp_path, encoder=encoder)
    retriever = Retriever(tmp_path, encoder_folder)
    assert retriever.search("coffee", "pump", min_score=0.2)[0].doc_id == "pump"
    assert retriever.search("coffee", "divorce lawyer in Ohio", min_score=0.2) == []
    assert retriever.search("coffee", "  ") == retriever.search("coffee", "pump", top_k=0) == []


def test_another_encoder_is_refused_and_the_log_says_so(
    tmp_path: Path, encoder: StaticEncoder, encoder_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    manifest = ingest(COFFEE, domain="coffee", root=tmp_path, encoder=encoder)
    folder = tmp_path / "coffee" / manifest.version
    row = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**row, "encoder_digest": "f" * 64}))
    with pytest.raises(IndexingError, match="built with encoder ffffffff, the one in use is"):
        PassageIndex.open(folder, encoder)
    assert Retriever(tmp_path, encoder_folder).versions() == {}
    assert "the index of coffee was not opened" in caplog.text


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("index.faiss", b"junk"),
        ("passages.jsonl", b"{"),
        ("passages.jsonl", b""),
        ("vocabulary.json", b"[1"),
        ("lexical.safetensors", b"junk"),
        ("manifest.json", b"{}"),
    ],
)
def test_a_broken_index_is_an_error_and_the_serving_one_stays(
    tmp_path: Path, encoder: StaticEncoder, encoder_folder: Path, name: str, content: bytes
) -> None:
    first = ingest(COFFEE[:2], domain="coffee", root=tmp_path, encoder=encoder)
    retriever = Retriever(tmp_path, encoder_folder)
    second = ingest(COFFEE, domain="coffee", root=tmp_path, encoder=encoder)
    (tmp_path / "coffee" / second.version / name).write_bytes(content)
    with pytest.raises(IndexingError, match="coffee"):
        PassageIndex.open(tmp_path / "coffee" / second.version, encoder)
    retriever.refresh()
    assert retriever.versions() == {"coffee": first.version}


@pytest.mark.parametrize("domain", ["../up", "", "UPPER", "a/b", "x" * 65, "a\n"])
def test_a_domain_cannot_name_another_folder(
    tmp_path: Path, encoder: StaticEncoder, domain: str
) -> None:
    with pytest.raises(IndexingError, match="cannot be a domain"):
        ingest(COFFEE, domain=domain, root=tmp_path, encoder=encoder)


@pytest.mark.parametrize("version", ["../../etc", "v1", "v1-0123456g", "v1-01234567\n"])
def test_a_version_cannot_name_another_folder(
    tmp_path: Path, encoder: StaticEncoder, encoder_folder: Path, version: str
) -> None:
    ingest(COFFEE, domain="coffee", root=tmp_path, encoder=encoder)
    with pytest.raises(IndexingError, match="not an index version"):
        Retriever(tmp_path, encoder_folder).search("coffee", "pump", version=version)


def test_searches_go_on_while_indexes_change(
    tmp_path: Path, encoder: StaticEncoder, encoder_folder: Path
) -> None:
    ingest(COFFEE, domain="coffee", root=tmp_path, encoder=encoder)
    retriever = Retriever(tmp_path, encoder_folder)
    stop, failures = threading.Event(), []

    def search() -> None:
        while not stop.is_set():
            if retriever.search("coffee", "why is my pump loud?")[0].doc_id != "pump":
                failures.append("wrong passage")

    threads = [threading.Thread(target=search) for _ in range(4)]
    for thread in threads:
        thread.start()
    for count in (2, 3, 2, 3):
        ingest(COFFEE[:count], domain="coffee", root=tmp_path, encoder=encoder)
        retriever.refresh()
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []
