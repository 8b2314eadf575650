"""Variants of rows keep their answers valid; a model's loss on them is counted."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from training.evaluation.evaluate import Question, evaluate
from training.evaluation.robustness import robustness
from training.evaluation.variants import Variant, varied
from training.rows import Row

SAID = "The red pump in cellar 12 drips. It began on Monday! Nobody has touched <id> since."


def asked(row: Row, text: str = SAID, **changes: object) -> Row:
    return replace(row, prompt=(row.prompt[0], ("user", text)), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("variant", Variant)
def test_a_variant_is_another_text_and_the_same_each_time(
    rows: list[Row], variant: Variant
) -> None:
    row = asked(rows[0])
    found = varied(variant, row, "0", target="noise")
    assert found is not None and found == varied(variant, row, "0", target="noise")
    assert found != row and replace(found, prompt=row.prompt) == row
    assert found.prompt[0] == row.prompt[0]


def test_what_each_variant_does(rows: list[Row]) -> None:
    said = {
        variant: found.prompt[1][1]
        for variant in Variant
        if (found := varied(variant, asked(rows[0]), "0", target="noise")) is not None
    }
    assert said[Variant.CASE] == SAID.upper()
    assert said[Variant.WHITESPACE].split() == SAID.split()
    assert sorted(said[Variant.WORD_ORDER].split()) == sorted(SAID.split())
    assert said[Variant.SENTENCE_ORDER] in {
        "It began on Monday! Nobody has touched <id> since. The red pump in cellar 12 drips.",
        "Nobody has touched <id> since. The red pump in cellar 12 drips. It began on Monday!",
    }
    assert SAID in said[Variant.DISTRACTOR]
    assert said[Variant.INJECTION].startswith(SAID)
    assert said[Variant.INJECTION].endswith("nothing else: noise")
    words = list(zip(SAID.split(), said[Variant.TYPOS].split(), strict=True))
    slips = [(right, wrong) for right, wrong in words if right != wrong]
    assert slips and all(right.isalpha() and len(right) >= 4 for right, _ in slips)
    assert all(abs(len(right) - len(wrong)) <= 1 for right, wrong in slips)


def test_words_of_the_answer_are_left_alone(rows: list[Row]) -> None:
    answer = json.dumps({"where": "cellar 12", "when": ["Monday"], "who": "Nobody"})
    row = asked(rows[0], answer=answer, label=None)
    for seed in range(50):
        for variant in (Variant.TYPOS, Variant.WHITESPACE, Variant.WORD_ORDER):
            found = varied(variant, row, str(seed))
            assert found is not None
            assert all(kept in found.question for kept in ("cellar 12", "Monday", "Nobody"))
    # Capitals would change it, and added text might belong into it.
    assert varied(Variant.CASE, row, "0") is None
    assert varied(Variant.DISTRACTOR, row, "0") is None
    assert varied(Variant.INJECTION, row, "0", target="{}") is None


@pytest.mark.parametrize("text", ["", " ", "?", "a b", "12 <id> 7", "\n", "x" * 100_000])
def test_texts_with_nothing_to_change(rows: list[Row], text: str) -> None:
    for variant in Variant:
        found = varied(variant, asked(rows[0], text), "0", target="noise")
        assert found is None or found.prompt[1][1] != text


def obedient(asked: Sequence[Question], _progress: Callable[[int, int], None]) -> list[str | None]:
    """Knows the rows in small letters, and does what it is told last."""
    said = [question.messages[-1]["content"] for question in asked]
    return [_sorted(text) for text in said]


def _sorted(text: str) -> str:
    before, told, demanded = text.partition("nothing else: ")
    signs = {"drips": "leak", "rattles": "noise", "heater": "cold"}
    return demanded if told else next((signs[sign] for sign in signs if sign in before), "?")


def test_losses_are_counted_by_variant(rows: list[Row]) -> None:
    original = evaluate("m", rows, obedient)
    assert original.score == 1.0
    found = {one.variant: one for one in robustness(original, obedient)}
    case = found[Variant.CASE].as_json()
    assert (case["n"], case["original"], case["score"]) == (60, 1.0, 0.0)
    assert found[Variant.SENTENCE_ORDER].as_json() == {"n": 0, "left_out": 60}
    document = found[Variant.INJECTION].as_json()
    assert (document["followed"], document["followed_before"]) == (1.0, 0.0)
    assert (document["original"], document["score"], document["difference"]) == (1.0, 0.0, -1.0)
    assert document["ci95"][1] < -0.9
    assert document["tasks"]["fault"]["difference"] == -1.0
    spaced = found[Variant.WHITESPACE].as_json()
    assert (spaced["score"], spaced["difference"]) == (1.0, 0.0)


def test_without_another_label_there_is_nothing_to_inject(rows: list[Row]) -> None:
    same = [row for row in rows if row.label == "leak"]
    found = {one.variant: one for one in robustness(evaluate("m", same, obedient), obedient)}
    assert found[Variant.INJECTION].n == 0
