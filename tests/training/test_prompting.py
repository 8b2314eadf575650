"""Prompts around a question, and the choice among them by a model that copies."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from retrieval.documents import Document
from retrieval.encoder import StaticEncoder
from retrieval.ingest import ingest
from retrieval.prompt import INSTRUCTION
from tests.training.conftest import SYSTEM
from training.evaluation.evaluate import Question, questions
from training.prompting.choose import best_prompt, candidates
from training.prompting.examples import fixed, label_lists, nearest
from training.prompting.passages import Passages
from training.prompting.prompt import Prompt, Way, tokens
from training.prompting.serving import as_served, ground_some
from training.rows import Row, Source

SYSTEM_TURN = {"role": "system", "content": SYSTEM}


def row(said: str, answer: str, task: str = "fault") -> Row:
    return Row((("system", SYSTEM), ("user", said)), answer, task, answer)


def copycat(asked: Sequence[Question], on_progress: Callable[[int, int], None]) -> list[str | None]:
    """A model that repeats the answer it saw last, or has none."""
    on_progress(len(asked), len(asked))
    said = [[m["content"] for m in q.messages if m["role"] == "assistant"] for q in asked]
    return [answers[-1] if answers else "?" for answers in said]


@pytest.fixture
def passages(tmp_path: Path, encoder_folder: Path) -> Passages:
    encoder = StaticEncoder.load(encoder_folder)
    document = Document(id="valves", title="Valves", text="A valve that drips needs a new seal.")
    ingest([document], domain="boiler", root=tmp_path / "indexes", encoder=encoder)
    found = Passages.open(tmp_path / "indexes", encoder_folder, "boiler")
    assert found is not None
    return found


def test_a_plain_prompt_is_the_question(rows: list[Row]) -> None:
    assert Prompt("plain").apply(rows) == questions(rows)


def test_examples_become_earlier_turns_and_instructions_one_system_message() -> None:
    shown = [row("it hums", "noise"), row("it drips", "leak")]
    prompt = Prompt("both", instructions={"fault": "Be brief."}, examples=lambda _: shown, room=100)
    asked = row("water on the floor", "leak")
    assert prompt.apply([asked])[0].messages == [
        {"role": "system", "content": f"{SYSTEM}\n\nBe brief."},
        {"role": "user", "content": "it hums"},
        {"role": "assistant", "content": "noise"},
        {"role": "user", "content": "it drips"},
        {"role": "assistant", "content": "leak"},
        {"role": "user", "content": "water on the floor"},
    ]
    assert prompt.apply([asked])[0].max_tokens == questions([asked])[0].max_tokens


def test_rows_are_asked_as_they_are_served(passages: Passages) -> None:
    bare = row("the valve drips", "leak")
    (with_passages,) = ground_some([bare], passages, 1.0, seed=0)
    assert with_passages == replace(bare, prompt=with_passages.prompt)
    assert "A valve that drips needs a new seal." in with_passages.prompt[0][1]
    assert as_served(passages)([bare]) == questions([with_passages])
    assert as_served(None)([bare]) == questions([bare])
    as_they_were = [with_passages, replace(bare, source=Source.LOG), replace(bare, held=True)]
    assert as_served(passages)(as_they_were) == questions(as_they_were)


def test_a_share_of_rows_gets_passages(passages: Passages) -> None:
    rows = [row(f"the valve of boiler {number} drips", "leak") for number in range(40)]
    some = ground_some(rows, passages, 0.25, seed=1)
    assert sum(now != before for now, before in zip(some, rows, strict=True)) == 10
    assert some == ground_some(rows, passages, 0.25, seed=1)
    assert some != ground_some(rows, passages, 0.25, seed=2)
    assert ground_some(rows, passages, 0, seed=1) == tuple(rows)


def test_what_does_not_fit_is_left_out_and_less_useful_examples_first() -> None:
    long, near, nearer = row("bang " * 99, "noise"), row("a drip", "leak"), row("drips", "leak")
    room = tokens("drips") + tokens("leak")
    prompt = Prompt("few", examples=lambda _: [near, nearer, long], room=room)
    said = [message["content"] for message in prompt.apply([row("drip", "leak")])[0].messages]
    assert said == [SYSTEM, "drips", "leak", "drip"]


def test_passages_stand_in_the_system_message(passages: Passages) -> None:
    messages = (
        Prompt("p", passages=passages, room=200).apply([row("the valve drips", "leak")])[0].messages
    )
    assert messages == [
        {
            "role": "system",
            "content": f"{SYSTEM}\n\n{INSTRUCTION}\n\n<sources>\n"
            "[1] Valves\nA valve that drips needs a new seal.\n</sources>",
        },
        {"role": "user", "content": "the valve drips"},
    ]


def test_a_pack_that_wants_no_passages_gets_none(
    passages: Passages, tmp_path: Path, encoder_folder: Path, pack: Path
) -> None:
    assert Passages.open(tmp_path / "indexes", encoder_folder, "boiler", [pack]) is not None
    assert Passages.open(tmp_path / "indexes", encoder_folder, "ovens", [pack]) is None
    (pack / "pack.toml").write_text('name = "boiler"\ntitle = "B"\n[retrieval]\ntop_k = 0\n')
    assert Passages.open(tmp_path / "indexes", encoder_folder, "boiler", [pack]) is None


def test_nearest_examples_are_of_the_task_and_never_the_question_itself() -> None:
    train = [
        row("the tap drips", "leak"),
        row("the tap drips at night", "leak"),
        row("a loud bang", "noise"),
        row("the tap drips", "x", task="other"),
        row("  ", "cold"),
    ]
    search = nearest(train)
    assert search(2)(row("the tap drips", "?")) == [train[2], train[1]]
    assert search(1)(row("such a bang!", "?")) == [train[2]]
    assert search(2)(row("the tap drips", "?", task="unknown")) == []
    assert nearest([row("?!", "leak")])(1)(row("?", "leak")) == [row("?!", "leak")]


def test_fixed_examples_are_one_of_each_of_the_commonest_answers(rows: list[Row]) -> None:
    uneven = rows + [replace(rows[0], prompt=(("user", "it drips"),))]
    choose = fixed(uneven, 2)
    chosen = choose(rows[0])
    assert [one.answer for one in chosen][0] == "leak"
    assert len({one.answer for one in chosen}) == 2
    assert choose(rows[7]) == chosen == fixed(uneven, 2)(rows[0])


def test_labels_are_listed_as_far_as_they_fit_and_free_answers_are_not(rows: list[Row]) -> None:
    common = [*rows, row("more water", "leak"), row("more noise", "noise"), row("water", "leak")]
    assert label_lists(common, 100) == {"fault": "Possible answers: leak, noise, cold"}
    assert label_lists(common, tokens("Possible answers: leak, noise")) == {
        "fault": "Possible answers: leak, noise"
    }
    free = [replace(one, answer=f"because of {i}") for i, one in enumerate(rows)]
    assert label_lists(free, 100) == {}


def test_candidates_from_the_simplest(rows: list[Row], passages: Passages) -> None:
    named = [(prompt.name, prompt.way) for prompt in candidates(rows, passages)]
    assert named == [
        ("plain", Way.PLAIN),
        ("label list", Way.INSTRUCTIONS),
        ("4 fixed examples", Way.FEW_SHOT),
        ("4 nearest examples", Way.FEW_SHOT),
        ("8 nearest examples", Way.FEW_SHOT),
        ("passages", Way.RETRIEVAL),
        ("4 nearest examples and passages", Way.FEW_SHOT_RETRIEVAL),
        ("8 nearest examples and passages", Way.FEW_SHOT_RETRIEVAL),
    ]
    assert [prompt.way for prompt in candidates(rows)] == [way for _, way in named[:5]]


def test_validation_rows_choose(rows: list[Row]) -> None:
    train, validation = rows[12:], rows[:12]
    heard: list[tuple[int, int]] = []
    best = best_prompt(
        copycat, candidates(train), validation, lambda done, total: heard.append((done, total))
    )
    assert best.name == "4 nearest examples"  # eight are no better
    assert heard == [(12 * n, 60) for n in range(1, 6)]
    assert best_prompt(copycat, candidates(train), []).name == "plain"
    fewer = best_prompt(copycat, candidates(train), validation, rows=1, seed=3)
    assert fewer.way is Way.FEW_SHOT
