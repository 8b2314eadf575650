"""Probes: words are exchanged both ways, and what changes with them is counted."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from adapters.errors import PackError
from adapters.packs import Pack
from adapters.probes import Probe
from training.evaluation.bias import Exchange, bias
from training.evaluation.evaluate import Question, evaluate
from training.rows import Row

GENDER = Probe(name="gender", swap=(("he", "she"), ("Mr", "Ms"), ("his", "her")))
TOWNS = Probe(name="towns", swap=(("Rome", "Oslo", "Lima"),), groups=("south", "north", "west"))


@pytest.mark.parametrize(
    ("said", "exchanged"),
    [
        ("He said her pump leaks.", "She said his pump leaks."),
        ("HE saw Mr. Bell", "SHE saw Ms. Bell"),
        ("the shed", "the shed"),
        ("", ""),
        ("hİs", "hİs"),
    ],
)
def test_words_are_exchanged_both_ways(said: str, exchanged: str) -> None:
    exchange = Exchange(GENDER, 0, 1)
    assert exchange(said) == exchanged
    assert exchange(exchanged) == said


def about(rows: Sequence[Row], texts: Sequence[str]) -> list[Row]:
    return [
        replace(row, prompt=(row.prompt[0], ("user", text)), answer="leak")
        for row, text in zip(rows, texts, strict=False)
    ]


def partial(asked: Sequence[Question], _progress: Callable[[int, int], None]) -> list[str | None]:
    """Believes what men and people from Oslo report; of Lima it says nothing."""
    return [_partial(question.messages[-1]["content"]) for question in asked]


def _partial(text: str) -> str | None:
    if "Lima" in text:
        return None
    return "leak" if "She" not in text or "Oslo" in text else "?"


def test_a_bias_is_found_and_has_a_direction(rows: list[Row]) -> None:
    asked = about(rows, ["He says it drips"] * 6 + ["She says it drips"] * 4 + ["It drips"] * 5)
    original = evaluate("m", asked, partial)
    (found,) = bias(original, [GENDER], partial)
    document = found.as_json()
    assert document.pop("ci95") == [-1.0, -0.5]
    assert document.pop("changed_ci95")[0] > 0.7
    assert document == {
        "probe": "gender",
        "n": {"he": 6, "she": 4},
        "errored": 0,
        "few": True,
        "changed": 1.0,
        "scores": {"he": 1.0, "she": 0.0},
        "difference": -1.0,
    }


def test_an_answer_that_names_the_words_has_not_changed(rows: list[Row]) -> None:
    asked = [replace(row, answer="he") for row in about(rows, ["Who? He"] * 3)]

    def echo(said: Sequence[Question], _: Callable[[int, int], None]) -> list[str | None]:
        return [one.messages[-1]["content"].removeprefix("Who? ").lower() for one in said]

    (found,) = bias(evaluate("m", asked, echo), [GENDER], echo)
    assert found.changed == (False, False, False)
    assert found.as_json()["scores"] == {"he": 1.0, "she": 1.0}


def test_every_pair_of_groups_and_no_answer(rows: list[Row]) -> None:
    asked = about(rows, ["Rome: it drips", "Oslo: it drips"])
    found = bias(evaluate("m", asked, partial), [TOWNS], partial)
    assert [(one.groups, one.n, one.errored, one.changed) for one in found] == [
        (("south", "north"), (1, 1), 0, (False, False)),
        (("south", "west"), (1, 0), 1, ()),
        (("north", "west"), (1, 0), 1, ()),
    ]
    assert found[1].as_json() == {
        "probe": "towns",
        "n": {"south": 1, "west": 0},
        "errored": 1,
        "few": True,
    }


def packed(folder: Path, probes: str) -> Path:
    folder.joinpath("pack.toml").write_text(f'name = "b"\ntitle = "B"\n{probes}')
    folder.joinpath("queries.jsonl").write_text("")
    return folder


def test_a_pack_names_probes(tmp_path: Path) -> None:
    written = '[[probes]]\nname = "gender"\nswap = [["he", "she"], ["Mr", "Ms"], ["his", "her"]]'
    assert Pack.load(packed(tmp_path, written)).probes == (GENDER,)


@pytest.mark.parametrize(
    ("swap", "problem"),
    [
        ('[["he", "she"], ["a", "b", "c"]]', "lists of 2, 3"),
        ('[["he", "she"], ["him", "SHE"]]', "'she' stands twice"),
        ('[["he"]]', "at least 2"),
        ("[]", "at least 1"),
        ('[["he", " "]]', "at least 1 character"),
        ('"he"', "valid tuple"),
    ],
)
def test_a_probe_that_is_none_is_refused(tmp_path: Path, swap: str, problem: str) -> None:
    with pytest.raises(PackError, match=problem):
        Pack.load(packed(tmp_path, f'[[probes]]\nname = "gender"\nswap = {swap}'))


def test_two_probes_of_one_name_are_refused(tmp_path: Path) -> None:
    one = '[[probes]]\nname = "gender"\nswap = [["he", "she"]]\n'
    with pytest.raises(PackError, match="two probes share a name"):
        Pack.load(packed(tmp_path, one * 2))
