import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.chunking import Chunking, passages_of, split
from retrieval.documents import Document


def test_a_short_document_is_one_passage() -> None:
    document = Document("care/pump", "Pump", "Bleed it first.", "care/pump.md", None)
    (passage,) = passages_of(document, Chunking())
    assert (passage.id, passage.doc_id, passage.text) == (
        "care/pump#0",
        "care/pump",
        "Bleed it first.",
    )


def test_a_heading_starts_a_passage_and_nothing_before_it_is_repeated() -> None:
    text = "# One\n\n" + "First. " * 12 + "\n\n# Two\n\n" + "Second. " * 12
    first, second = split(text, Chunking(size=120, overlap=20))
    assert first.startswith("# One") and "Second" not in first
    assert second.startswith("# Two") and "First" not in second


def test_sentences_stay_whole_and_the_next_passage_repeats_the_end() -> None:
    sentences = [f"Sentence number {n} is here." for n in range(20)]
    pieces = split(" ".join(sentences), Chunking(size=150, overlap=40))
    assert all(piece.endswith(".") for piece in pieces)
    for before, after in zip(pieces, pieces[1:], strict=False):
        assert before.endswith(after[: after.index(".") + 1])


def test_text_without_spaces_is_cut() -> None:
    assert {len(piece) for piece in split("x" * 1_000, Chunking(size=100, overlap=0))} == {100}


@pytest.mark.parametrize(("size", "overlap"), [(99, 0), (100, 51), (100, -1)])
def test_impossible_arguments_are_refused(size: int, overlap: int) -> None:
    with pytest.raises(ValueError, match="overlap"):
        Chunking(size=size, overlap=overlap)


@given(
    text=st.text(alphabet="ab .\n#\u3002\t", max_size=1_500),
    size=st.integers(100, 300),
    overlap=st.integers(0, 50),
)
def test_no_passage_is_too_long_and_no_word_is_lost(text: str, size: int, overlap: int) -> None:
    pieces = split(text, Chunking(size=size, overlap=overlap))
    assert all(0 < len(piece) <= size for piece in pieces)
    assert set("".join(text.split())) == set("".join("".join(pieces).split()))
    assert sum(len("".join(piece.split())) for piece in pieces) >= len("".join(text.split()))
