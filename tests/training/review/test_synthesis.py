"""Examples that a model writes: into the queue if they are new and whole, and never beyond it."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from adapters.review.book import ReviewBook, Wanted
from adapters.review.item import Item
from tests.fakes.scribe import Scribe
from tests.serving import serving
from tests.training.conftest import SYSTEM, write_chat
from training.cli.synthesize import synthesize
from training.review.copies import Seen
from training.review.drafting import Draft, read_drafts
from training.rows import Row, read_chat

WORDS = "red blue tin oak wet dry old new hot raw big shy".split()


@dataclass
class Workspace:
    """What this verb needs, in a temporary folder."""

    store_url: str
    packs: tuple[Path, ...]


Write = Callable[..., Result]


@pytest.fixture
def call(pack: Path, tmp_path: Path) -> Write:
    """`turnout synthesize boiler` on the pack, against a server."""

    def called(url: str, *words: str) -> Result:
        arguments = ["boiler", "--url", url, "--model", "m", "--json", *words]
        workspace = Workspace(f"sqlite:///{tmp_path}/turnout.db", (pack,))
        return CliRunner().invoke(synthesize, arguments, obj=workspace)

    return called


def fresh(number: int, of: int = 4, answer: str = "leak") -> list[dict[str, str]]:
    """Examples that nobody has written before."""
    return [
        {"question": f"{WORDS[number % 12]} {WORDS[n]} {number} valve {n}", "answer": answer}
        for n in range(of)
    ]


def queued(book: ReviewBook) -> list[Item]:
    return list(book.every(Wanted()))


def test_new_examples_come_into_the_queue_with_where_they_are_from(
    book: ReviewBook, call: Write
) -> None:
    scribe = Scribe(lambda prompt, n: json.dumps(fresh(n)))
    with serving(scribe.app) as url:
        done = call(url + "/v1", "--n", "10", "--concurrency", "1", "--annotators", "2")
        again = json.loads(call(url, "--n", "10").stdout)
        more = json.loads(call(url, "--n", "12").stdout)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert (found["queued"], found["requests"], found["tokens"]) == (10, 3, 300)
    assert (again["before"], again["queued"], again["requests"]) == (10, 0, 0)
    assert (more["before"], more["queued"], more["requests"]) == (10, 2, 1)
    first = queued(book)[0]
    assert first.example.prompt == (("system", SYSTEM), ("user", "blue red 1 valve 0"))
    assert (first.example.task, first.example.labels) == ("fault", ("cold", "leak", "noise"))
    assert (first.state, first.wanted, first.batch) == ("open", 2, found["batch"])
    assert first.origin == {
        "model": "m",
        "prompt": first.origin["prompt"],
        "seed": 0,
        "from": "train",
    }
    body = scribe.seen[0]
    assert (body["model"], body["seed"], "turnout" in body) == ("m", 0, False)
    assert SYSTEM in body["messages"][-1]["content"]
    assert len({str(one["messages"]) for one in scribe.seen}) == 4


def test_what_is_no_new_example_is_refused_and_counted(
    book: ReviewBook, call: Write, pack: Path, tmp_path: Path, rows: list[Row]
) -> None:
    secret = Row((("user", "the sealed question about the boiler"),), "leak", label="leak")
    held_out = write_chat(tmp_path / "sealed.jsonl", [secret])
    shown = rows[0].question
    drafts = [
        {"question": shown.upper() + "!", "answer": "leak"},
        {"question": "The sealed question about the boiler?", "answer": "leak"},
        {"question": "a new one about rust", "answer": "rust"},
        {"question": "  ", "answer": "leak"},
        {"question": "x" * 8001, "answer": "leak"},
        {"question": "nul \x00 in it", "answer": "leak"},
        {"question": "this one is good", "answer": "leak"},
        {"question": "This one is good.", "answer": "cold"},
    ]
    scribe = Scribe(lambda prompt, n: "no JSON" if n > 1 else f"Sure!\n```\n{json.dumps(drafts)}")
    with serving(scribe.app) as url:
        done = call(url, "--n", "20", "--concurrency", "1", "--eval", str(held_out))
    found = json.loads(done.stdout)
    assert done.exit_code == 1 and found["queued"] == 1
    assert found["refused"] == {
        "copies_training": 1,
        "copies_evaluation": 1,
        "unknown_label": 1,
        "empty": 1,
        "too_long": 1,
        "copies_another": 1,
        "unreadable": 25,
    }
    assert found["requests"] == 25  # five times what it should take, and no more
    assert [one.example.prompt[-1][1] for one in queued(book)] == ["this one is good"]


def test_each_label_has_its_turn_and_no_other_answer(book: ReviewBook, call: Write) -> None:
    def write(prompt: str, number: int) -> str:
        label = prompt.rsplit("whose answer is ", 1)[1].strip("'.")
        return json.dumps([*fresh(number, 2, label), *fresh(number + 20, 1, "rust")])

    scribe = Scribe(write)
    with serving(scribe.app) as url:
        done = call(url, "--n", "6", "--from", "labels", "--concurrency", "1")
    assert json.loads(done.stdout)["refused"] == {"unknown_label": 2}
    answers = sorted(one.example.answer for one in queued(book))
    assert answers == ["cold", "cold", "leak", "leak", "noise", "noise"]


def test_passages_of_the_documents_come_along(book: ReviewBook, call: Write, pack: Path) -> None:
    (pack / "documents").mkdir()
    (pack / "documents" / "valves.md").write_text("# Valves\n\nA valve has a seat of brass.\n")
    scribe = Scribe(lambda prompt, n: json.dumps(fresh(n, 2, "of brass")))
    with serving(scribe.app) as url:
        assert call(url, "--n", "2", "--from", "documents").exit_code == 0
    assert "A valve has a seat of brass." in scribe.seen[0]["messages"][-1]["content"]
    (passage,) = {one.example.passages for one in queued(book)}
    assert "A valve has a seat of brass." in passage[0]


def test_a_busy_server_is_asked_again_and_a_broken_one_named(book: ReviewBook, call: Write) -> None:
    scribe = Scribe(lambda prompt, n: json.dumps(fresh(n)), 429, 503, 500)
    with serving(scribe.app) as url:
        found = json.loads(call(url, "--n", "4", "--concurrency", "1").stdout)
        assert (found["queued"], found["retries"], found["failed"]) == (4, 3, 0)
        scribe.statuses = [401]
        refused = call(url, "--n", "8")
        assert refused.exit_code == 1 and "401 told to" in refused.stderr
        scribe.statuses = [500] * 5
        assert "gives no answer (status 500)" in call(url, "--n", "8", "--concurrency", "1").stderr
    assert "does not answer" in call("http://127.0.0.1:9", "--n", "8").stderr
    assert len(queued(book)) == 4


def test_the_budget_is_never_exceeded(book: ReviewBook, call: Write) -> None:
    scribe = Scribe(lambda prompt, n: json.dumps(fresh(n, 1)), tokens=1500)
    with serving(scribe.app) as url:
        done = call(url, "--n", "50", "--max-tokens-total", "5000")
    found = json.loads(done.stdout)
    assert done.exit_code == 1 and found["exhausted"]
    assert found["tokens"] == 1500 * len(scribe.seen) <= 5000 and found["queued"] >= 1


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("--from", "documents"), "the domain has no documents; use --from train"),
        (("--n", "0"), "0 is not in the range"),
    ],
)
def test_wrong_use_says_what_to_do(call: Write, words: tuple[str, ...], problem: str) -> None:
    done = call("http://127.0.0.1:9", *words)
    assert done.exit_code == 2 and problem in done.stderr


@pytest.mark.parametrize(
    ("reply", "drafts"),
    [
        ('[{"question": "a", "answer": "b"}]', [Draft("a", "b")]),
        ('```json\n{"examples": [{"input": "a", "output": 3}]}\n```', [Draft("a", "3")]),
        ('{"question": "a", "answer": {"k": 1}}\n{"question": "c", "answer": "d"} bye', None),
        ('[{"question": "a", "answer": "b"}, {"question": "cut of', [Draft("a", "b")]),
        ('{"question": null, "answer": "b"} {"q": 1} [1, 2] "x"', []),
        ("{" * 100_000, []),
        ('{"a":' * 20_000, []),
        ("", []),
    ],
)
def test_replies_are_read_leniently(reply: str, drafts: list[Draft] | None) -> None:
    expected = [Draft("a", '{"k": 1}'), Draft("c", "d")] if drafts is None else drafts
    assert read_drafts(reply) == expected


def test_near_copies_are_those_of_curation(rows: list[Row]) -> None:
    seen = Seen(row.question for row in rows)
    assert rows[3].question.upper() in seen
    assert f"{rows[3].question} and one more thing about something else" not in seen
    assert "" not in seen
    seen.add("")
    assert "?!" in seen


def test_nothing_is_shown_of_conversations_without_one_question(tmp_path: Path) -> None:
    talk: list[dict[str, Any]] = [
        {"role": role, "content": "x"} for role in ("user", "assistant", "user", "assistant")
    ]
    file = tmp_path / "train.jsonl"
    file.write_text(json.dumps({"messages": talk}) + "\n")
    assert len(read_chat(file)) == 1
    words = ["boiler", "--url", "http://127.0.0.1:9", "--model", "m", "--data", str(file)]
    workspace = Workspace(f"sqlite:///{tmp_path}/turnout.db", ())
    done = CliRunner().invoke(synthesize, words, obj=workspace)
    assert done.exit_code == 2 and "no training example with one question" in done.stderr
