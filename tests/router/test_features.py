import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.features import (
    HEAD_CHARACTERS,
    MAX_UNSEEN,
    Features,
    Vocabulary,
    forms_of,
    fragments,
    pairs_of,
    tokens_of,
    words_of,
)

VOCABULARY = Vocabulary(
    ["machine", "the", "pump"],
    ["the pump", "pump machine"],
    ["<pu", "ump", "ps>"],
    ["pump", "##s", "gro", "##up"],
)


def test_words_are_lower_case_and_without_accents() -> None:
    assert words_of("Café DÉJÀ-vu, it's 3G!") == ["cafe", "deja", "vu", "it", "s", "3g"]


def test_a_long_text_is_its_head_and_its_tail() -> None:
    found = words_of("head " * HEAD_CHARACTERS + "and now the question?")
    assert found[0] == "head"
    assert found[-2:] == ["the", "question"]
    assert len(found) < 500


def test_pairs_are_neighbours() -> None:
    assert pairs_of(["a", "b", "c"]) == ["a b", "b c"]
    assert pairs_of([]) == []


def test_fragments_know_the_ends_of_a_word() -> None:
    assert fragments("pump") == "<pu pum ump mp> <pum pump ump> <pump pump>".split()
    assert fragments("a") == ["<a>"]


def test_each_feature_is_counted_once() -> None:
    features = VOCABULARY.features("The pump! The pump? Pumps.")
    assert features == Features(words=[1, 2], unseen=["pumps"], pairs=[0])


def test_an_unknown_word_is_cut_into_known_parts() -> None:
    assert VOCABULARY.fragments_of("pumps") == [0, 1, 2]
    assert VOCABULARY.pieces_of("pumps") == [0, 1]
    assert VOCABULARY.pieces_of("group") == [2, 3]
    assert VOCABULARY.pieces_of("groups!") == []


def test_unknown_words_are_bounded() -> None:
    assert len(VOCABULARY.features(" ".join(f"x{n}" for n in range(99))).unseen) == MAX_UNSEEN


@given(text=st.text(max_size=300) | st.text(st.characters(categories=["Cs", "Lo", "Mn"])))
def test_any_text_has_features(text: str) -> None:
    features = VOCABULARY.features(text)
    assert all(0 <= row < 3 for row in features.words)
    assert all(0 <= row < 2 for row in features.pairs)


@pytest.mark.parametrize(
    ("text", "forms"),
    [
        ("how are you?", ("=lower", "=question")),
        ("REPLACE PUMP", ("=upper", "=open")),
        (" Is it on. ", ("=title", "=stop")),
        ("iPad (new)", ("=mixed", "=other")),
    ],
)
def test_forms_say_how_a_text_is_written(text: str, forms: tuple[str, str]) -> None:
    assert forms_of(text) == forms
    assert tokens_of(text)[-2:] == list(forms)
    assert fragments(forms[0]) == VOCABULARY.pieces_of(forms[0]) == []


def test_known_forms_are_features_of_texts_with_words() -> None:
    vocabulary = Vocabulary(["pump", "=lower", "=open"], ["pump =lower"], [], [])
    assert vocabulary.features("pump") == Features(words=[0, 1, 2], unseen=[], pairs=[0])
    assert vocabulary.features("?") == Features(words=[], unseen=[], pairs=[])
