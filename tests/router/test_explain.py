"""Explanations add up to the decision, and name examples that are like the query."""

from math import log

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router import Router
from router.conversation import decide
from router.explain import Kind, explain

WORDS = st.sampled_from(
    ["espresso", "machine", "library", "book", "poem", "france", "froth", "zzyzx", "Q!", "7", "é"]
)


def _margin(router: Router, turns: list[str]) -> float:
    first, second = sorted(decide(router, turns).probabilities.values(), reverse=True)[:2]
    return log(first / second)


@settings(deadline=None)
@given(turns=st.lists(st.lists(WORDS, min_size=1, max_size=12).map(" ".join), min_size=1))
def test_weights_add_up_to_the_margin(router: Router, turns: list[str]) -> None:
    explanation = explain(router, turns)
    if explanation is None:
        return
    total = explanation.bias + sum(feature.weight for feature in explanation.features)
    assert explanation.margin == pytest.approx(total)
    assert explanation.margin == pytest.approx(_margin(router, turns), abs=1e-3)


def test_words_pairs_forms_and_unknown_words_are_named(router: Router) -> None:
    explanation = explain(router, ["my espresso machine is cloggedupp"])
    assert explanation is not None
    assert explanation.best == "espresso"
    named = {(feature.kind, feature.text) for feature in explanation.features}
    assert named == {
        (Kind.WORD, "my"),
        (Kind.WORD, "espresso"),
        (Kind.WORD, "machine"),
        (Kind.WORD, "is"),
        (Kind.UNKNOWN, "cloggedupp"),
        (Kind.FORM, "lower"),
        (Kind.FORM, "open"),
        (Kind.FORM, "lower open"),
    }
    weights = [abs(feature.weight) for feature in explanation.features]
    assert weights == sorted(weights, reverse=True)
    assert explanation.features[0].text in {"espresso", "machine"}
    assert explanation.features[0].weight > 0
    asked = explain(router, ["what is the best way to write?"])
    assert asked is not None
    pairs = {feature.text for feature in asked.features if feature.kind is Kind.PAIR}
    assert {"what is", "is the"} <= pairs


def test_earlier_turns_are_a_feature_as_well(router: Router) -> None:
    turns = ["when is the library branch open on sunday?", "and what about monday then?"]
    explanation = explain(router, turns)
    assert explanation is not None
    assert explanation.best == "library"
    [earlier] = [f for f in explanation.features if f.kind is Kind.EARLIER_TURNS]
    assert earlier.weight > 0
    alone = explain(router, turns[1:])
    assert alone is not None
    assert Kind.EARLIER_TURNS not in {feature.kind for feature in alone.features}


@pytest.mark.parametrize("turns", [[], [""], ["?!"]])
def test_without_words_there_is_nothing_to_explain(router: Router, turns: list[str]) -> None:
    assert explain(router, turns) is None
