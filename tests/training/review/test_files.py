"""The queue as a file: what comes back is what was filled in, and no verdict is ever lost."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from adapters.review.book import ReviewBook, Wanted
from adapters.review.item import Decision, ItemState, Verdict, is_turned
from tests.training.review.items import ACCEPT, CORRECT, REJECT, item, pair
from training.errors import DataError
from training.review.files import read_decisions, write_items

BOILER = Wanted("boiler")
HOSTILE = '=HYPERLINK("http://x","y")\nand a "quote", ünïcode \x1b[31m'


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def fill(path: Path, **filled: dict[str, Any]) -> None:
    """Write values into the lines of these items."""
    if path.suffix == ".csv":
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        with path.open("w", newline="") as file:
            table = csv.DictWriter(file, rows[0].keys())
            table.writeheader()
            table.writerows(row | filled.get(row["id"], {}) for row in rows)
    else:
        rows = [line | filled.get(line["id"], {}) for line in lines(path)]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.parametrize("name", ["q.jsonl", "q.csv"])
def test_a_round_trip_takes_down_what_was_filled_in(
    book: ReviewBook, tmp_path: Path, name: str
) -> None:
    free = item(HOSTILE, HOSTILE, labels=())
    good, bad, left = item("it drips"), item("it hums"), item("it is cold")
    book.add([free, good, bad, left])
    file = tmp_path / name
    assert write_items(file, book.every(BOILER), "ada") == 4
    fill(
        file,
        **{
            free.id: {"correction": "-1 + 1\nis 0", "comment": "@all: see"},
            good.id: {"verdict": " Accept "},
            bad.id: {"verdict": "correct", "correction": "noise"},
        },
    )
    for _ in range(2):  # the same file again changes nothing
        book.decide(read_decisions(file, book, "ada"), "ada")
        found = book.find([free.id, good.id, bad.id, left.id])
        assert {name: (one.state, one.answer) for name, one in found.items()} == {
            free.id: (ItemState.CORRECTED, "-1 + 1\nis 0"),
            good.id: (ItemState.ACCEPTED, "leak"),
            bad.id: (ItemState.CORRECTED, "noise"),
            left.id: (ItemState.OPEN, None),
        }
        said = found[free.id].by("ada")
        assert said is not None and said.comment == "@all: see"
    write_items(file, book.every(BOILER), "ada")
    fill(file, **{good.id: {"verdict": "reject"}})
    book.decide(read_decisions(file, book, "ada"), "ada")
    assert book.item(good.id).state is ItemState.REJECTED
    assert book.item(free.id).answer == "-1 + 1\nis 0"


def test_a_spreadsheet_runs_nothing(book: ReviewBook, tmp_path: Path) -> None:
    book.add([item(HOSTILE, "=1+1", labels=())])
    file = tmp_path / "q.csv"
    write_items(file, book.every(BOILER), "ada")
    with file.open(newline="") as table:
        (row,) = csv.DictReader(table)
    assert row["answer"] == "'=1+1"
    assert not any(cell.startswith(("=", "+", "-", "@")) for cell in row.values())


def test_a_comparison_comes_back_from_the_side_it_was_seen(
    book: ReviewBook, tmp_path: Path
) -> None:
    new = pair("it drips", "tighten it", "pray")
    book.add([new])
    who = next(name for name in map("n{}".format, range(20)) if is_turned(new.id, name))
    file = tmp_path / "q.jsonl"
    write_items(file, book.every(BOILER), who)
    (line,) = lines(file)
    assert (line["answer"], line["rival"]) == ("pray", "tighten it")
    fill(file, **{new.id: {"verdict": "first"}})
    book.decide(read_decisions(file, book, who), who)
    said = book.item(new.id).by(who)
    assert said is not None and said.verdict is Verdict.SECOND


def test_a_file_that_is_wrong_anywhere_changes_nothing(book: ReviewBook, tmp_path: Path) -> None:
    new = item("it drips")
    book.add([new])
    file = tmp_path / "q.jsonl"
    write_items(file, book.every(BOILER), "ada")
    good = json.dumps(lines(file)[0] | {"verdict": "accept"})
    cases = {
        "not valid JSON": good + "\n" + good[:40],
        "is there twice": f"{good}\n{good}",
        "nothing to review has the id": good + '\n{"id": "rev-0\\u0000", "verdict": "accept"}',
        '"id" must be the id': good + '\n{"verdict": "accept"}',
        "is not one of accept": good.replace('"accept"', '"maybe"'),
        "correction must be a text": good.replace('"correction": null', '"correction": [1]'),
        "leave it as it was": good.replace('"answer": "leak"', '"answer": "cold"'),
        "'hot' is not one of the labels": good.replace('"accept"', '"correct"').replace(
            '"correction": null', '"correction": "hot"'
        ),
        "said_at must stay": good.replace('"said_at": null', '"said_at": "noon"'),
        "not UTF-8": good.encode()[:-1] + b"\xff}",
    }
    book.decide([Decision(new.id, ACCEPT)], "ada")
    before = book.item(new.id)
    for problem, content in cases.items():
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(DataError, match=problem) as caught:
            read_decisions(file, book, "ada")
        assert "q.jsonl" in str(caught.value)
    table = tmp_path / "q.csv"
    for problem, text in {
        "no column answer": "id,verdict\nx,y\n",
        "not as many cells": "id,answer,verdict\nx,y\n",
        "not CSV": 'id,answer,verdict\nx,"y',
    }.items():
        table.write_text(text)
        with pytest.raises(DataError, match=problem):
            read_decisions(table, book, "ada")
    assert book.item(new.id) == before


def test_an_old_file_does_not_take_back_what_was_said_since(
    book: ReviewBook, tmp_path: Path
) -> None:
    new = item("it drips")
    book.add([new])
    book.decide([Decision(new.id, REJECT)], "ada")
    file = tmp_path / "q.jsonl"
    write_items(file, book.every(BOILER), "ada")
    book.decide([Decision(new.id, CORRECT, "cold")], "ada")
    with pytest.raises(DataError, match="ada judged rev-.* anew since this was exported"):
        read_decisions(file, book, "ada")
    book.decide(read_decisions(file, book, "ada", overwrite=True), "ada")
    assert book.item(new.id).state is ItemState.REJECTED
