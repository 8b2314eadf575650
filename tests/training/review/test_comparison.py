"""People judge two models: blind, from both sides, and told apart only in the report."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from adapters.review.book import ReviewBook, Wanted
from adapters.review.item import Decision, Verdict, shown_to
from tests.fakes.scribe import Scribe
from tests.serving import serving
from tests.training.conftest import write_chat
from tests.training.review.test_files import fill
from training.cli.review import review
from training.evaluation.evaluate import scored
from training.evaluation.predictions import write_predictions
from training.rows import Row


@dataclass
class Workspace:
    """What these verbs need, in a temporary folder."""

    store_url: str
    packs: tuple[Path, ...] = ()
    development_key: str | None = None


def turnout(tmp_path: Path, *words: str) -> Result:
    workspace = Workspace(f"sqlite:///{tmp_path}/turnout.db")
    return CliRunner().invoke(review, [*words], obj=workspace)


@pytest.fixture
def data(tmp_path: Path, rows: list[Row]) -> Path:
    return write_chat(tmp_path / "data.jsonl", rows)


@pytest.fixture
def predictions(tmp_path: Path, rows: list[Row]) -> Path:
    """Of `wise` and `rash`, who differ but on the last row."""
    wise = [row.answer for row in rows]
    rash = [f"no {row.answer}" for row in rows[:-1]] + [rows[-1].answer]
    file = tmp_path / "predictions.jsonl"
    write_predictions(file, [scored("wise", rows, wise), scored("rash", rows, rash)])
    return file


def compared(tmp_path: Path, data: Path, predictions: Path, *words: str) -> Result:
    files = ("--data", str(data), "--predictions", str(predictions))
    names = ("--name", "first look", "--domain", "boiler", "--n", "60")
    return turnout(tmp_path, "compare", "wise", "rash", *files, *names, *words)


def judge(book: ReviewBook, annotator: str, wins: int, ties: int) -> None:
    """So many wins for `wise`, then ties, then losses."""
    for number, item in enumerate(book.every(Wanted(batch="first look"))):
        answer = shown_to(item, annotator).answer  # `rash` answers `no …`
        first, other = ("rash", "wise") if answer.startswith("no ") else ("wise", "rash")
        winner = "wise" if number < wins else "rash"
        verdict = {first: Verdict.FIRST, other: Verdict.SECOND}[winner]
        if wins <= number < wins + ties:
            verdict = Verdict.TIE
        book.decide([Decision(item.id, verdict)], annotator)


def test_a_report_tells_who_won(
    book: ReviewBook, tmp_path: Path, data: Path, predictions: Path
) -> None:
    made = compared(tmp_path, data, predictions, "--annotators", "2", "--json")
    assert json.loads(made.stdout) == {
        "name": "first look",
        "rows": 60,
        "compared": 59,
        "queued": 59,
    }
    assert json.loads(compared(tmp_path, data, predictions, "--json").stdout)["queued"] == 0
    firsts = [item.origin["models"][0] for item in book.every(Wanted())]
    assert 15 < firsts.count("wise") < 44  # sides fall by chance
    judge(book, "ada", wins=30, ties=9)
    judge(book, "ben", wins=30, ties=9)
    found: dict[str, Any] = json.loads(turnout(tmp_path, "report", "first look", "--json").stdout)
    agreed = found.pop("agreement")
    assert (agreed["value"], agreed["n"]) == (1.0, 59)
    low, high = found["ci95"]
    assert low < found["win_rate"] < high
    assert found["win_rate"] == pytest.approx(34.5 / 59, abs=1e-4)
    assert (found["wins"], found["ties"], found["losses"], found["judged"]) == (30, 9, 20, 59)
    assert found["p"] == pytest.approx(0.2026, abs=1e-4)  # 30 of 50, two-sided, by the binomial
    assert found["tasks"]["fault"]["n"] == 59 and found["models"] == ["wise", "rash"]
    text = turnout(tmp_path, "report", "first look").stdout
    assert "wins of wise over rash; 59 of 59 judged; alpha of annotators 1.000 on 59" in text


def test_annotators_who_disagree_make_a_tie(
    book: ReviewBook, tmp_path: Path, data: Path, predictions: Path
) -> None:
    compared(tmp_path, data, predictions, "--annotators", "2")
    judge(book, "ada", wins=59, ties=0)
    judge(book, "ben", wins=0, ties=0)
    found = json.loads(turnout(tmp_path, "report", "first look", "--json").stdout)
    assert (found["ties"], found["p"], found["agreement"]["value"] < 0) == (59, 1.0, True)


def test_answers_are_asked_of_a_server(book: ReviewBook, tmp_path: Path, data: Path) -> None:
    scribe = Scribe(lambda prompt, n: f"answer {n}")
    words = ("compare", "a", "b", "--data", str(data), "--n", "5", "--name", "live", "--json")
    with serving(scribe.app) as url:
        found = json.loads(turnout(tmp_path, *words, "--url", url, "--concurrency", "1").stdout)
    assert found == {"name": "live", "rows": 5, "compared": 5, "queued": 5}
    assert [body["model"] for body in scribe.seen] == ["a"] * 5 + ["b"] * 5
    listed = turnout(tmp_path, "list", "general", "--json").stdout
    assert len(json.loads(listed)) == 5 and '"models"' not in listed


def test_wrong_use_says_what_to_do(
    book: ReviewBook, tmp_path: Path, data: Path, predictions: Path
) -> None:
    compared(tmp_path, data, predictions)
    files = ("--data", str(data), "--predictions", str(predictions))
    cases = {
        ("report", "nothing"): "no comparison is named 'nothing'",
        (
            "compare",
            "wise",
            "rash",
            *files,
            "--name",
            "a/b",
        ): "cannot be the name of the comparison",
        ("compare", "wise", "other", *files, "--name", "x"): "other has no answer to",
        ("compare", "rash", "wise", *files, "--name", "first look"): "is taken by something else",
        ("compare", "wise", "wise", *files, "--name", "x"): "no two different answers",
        ("list", "--after", "rev-"): "nothing to review has the id 'rev-'",
        ("export", "boiler", "--as", "", "--out", "x.csv"): "cannot be the name of the annotator",
    }
    for words, problem in cases.items():
        done = turnout(tmp_path, *words)
        assert (done.exit_code, problem in done.stderr) == (2, True), done.output


def test_the_verbs_work_together(
    book: ReviewBook, tmp_path: Path, data: Path, predictions: Path
) -> None:
    compared(tmp_path, data, predictions, "--annotators", "2")
    file = tmp_path / "mine.csv"
    who = ("--as", "ada")
    assert turnout(tmp_path, "export", "boiler", *who, "--out", str(file)).stdout.startswith("59 ")
    fill(file, **{item.id: {"verdict": "tie"} for item in book.every(Wanted())})
    first = json.loads(turnout(tmp_path, "next", "boiler", *who).stdout)
    assert first["said"] is None and first["example"]["rival"]
    done = turnout(tmp_path, "import", str(file), *who, "--json")
    assert json.loads(done.stdout) == {"verdicts": 59}, done.output
    assert json.loads(turnout(tmp_path, "next", "boiler", *who).stdout) is None
    assert json.loads(turnout(tmp_path, "stats", "--json").stdout) == {
        "items": {"boiler": {"human_eval": {"open": 59}}},
        "annotators": {"ada": 59},
    }
    assert "ada" in turnout(tmp_path, "stats").stdout
    judge(book, "ben", wins=20, ties=20)
    text = turnout(tmp_path, "agreement", "boiler").stdout
    assert "kappa, ada and ben" in text and "one said" in text
    assert json.loads(turnout(tmp_path, "agreement", "boiler", "--json").stdout)["alpha"]["n"] == 59
