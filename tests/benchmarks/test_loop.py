"""What the loop's simulated users ask, and who they are."""

import json
from itertools import islice
from pathlib import Path

import pytest

from benchmarks.loop.people import Manner, visits
from benchmarks.loop.questions import NoQuestions, Questions, read_questions, write_pack


@pytest.fixture
def questions(tmp_path: Path) -> Questions:
    folder = tmp_path / "finance"
    folder.mkdir()
    for name, each in (("train", 20), ("eval", 4)):
        rows = [
            {
                "messages": [
                    {"role": "user", "content": f"{name} {intent} {number}"},
                    {"role": "assistant", "content": f"intent_{intent}"},
                ],
                "meta": {"task": "banking_intent"},
            }
            for intent in range(26)
            for number in range(each - (intent > 23))
        ]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read_questions(tmp_path, seed=1)


def test_the_parts_share_no_message_and_have_the_same_intents(questions: Questions) -> None:
    parts = [questions.lessons, questions.judged, questions.fresh]
    said = [{question.messages[-1]["content"] for question in part} for part in parts]
    assert not (said[0] & said[1] or said[0] & said[2] or said[1] & said[2])
    assert [len(part) for part in parts] == [320, 160, 90]
    assert {question.right for part in parts for question in part} == set(questions.intents)
    assert len(questions.intents) == 24


def test_the_pack_holds_what_its_owner_judges_by_and_nothing_to_learn(
    questions: Questions, tmp_path: Path
) -> None:
    pack = write_pack(tmp_path / "pack", questions)
    assert sorted(path.name for path in pack.iterdir()) == [
        "eval.jsonl",
        "pack.toml",
        "queries.jsonl",
    ]
    assert len((pack / "eval.jsonl").read_text().splitlines()) == len(questions.judged)


def test_every_question_is_asked_once_before_any_is_asked_twice(questions: Questions) -> None:
    crowd = visits(questions.lessons, (Manner.HONEST, Manner.LIAR), "user", seed=1)
    asked: list[str] = []
    manners = []
    while len(asked) < len(questions.lessons):
        visit = next(crowd)
        asked += [question.messages[-1]["content"] for question in visit.questions]
        manners.append(visit.manner)
    assert len(set(asked)) == len(asked)
    assert manners[:3] == [Manner.HONEST, Manner.LIAR, Manner.HONEST]
    again = visits(questions.lessons, (Manner.HONEST,), "user", seed=1)
    assert [visit.questions for visit in islice(again, 5)] == [
        visit.questions
        for visit in islice(visits(questions.lessons, (Manner.LIAR,), "user", seed=1), 5)
    ]


def test_missing_data_are_named(tmp_path: Path) -> None:
    with pytest.raises(NoQuestions, match="TURNOUT_DATA"):
        read_questions(tmp_path, seed=1)
