"""Reviewing in a terminal, key by key, through the command itself."""

from dataclasses import dataclass
from pathlib import Path

from click.testing import CliRunner, Result

from adapters.review.book import ReviewBook, Wanted
from adapters.review.item import Decision, ItemState, Verdict, is_turned
from tests.training.review.items import ACCEPT, REJECT, item, pair
from training.cli.review import review


@dataclass
class Workspace:
    """What these verbs need, in a temporary folder."""

    store_url: str
    packs: tuple[Path, ...] = ()


def label(tmp_path: Path, keys: str, *words: str) -> Result:
    workspace = Workspace(f"sqlite:///{tmp_path}/turnout.db")
    arguments = ["label", "boiler", "--as", "ada", *words]
    return CliRunner().invoke(review, arguments, obj=workspace, input=keys)


def states(book: ReviewBook) -> list[tuple[str, ItemState, str | None]]:
    return [(one.example.prompt[-1][1], one.state, one.answer) for one in book.every(Wanted())]


def test_every_key_does_what_it_says(book: ReviewBook, tmp_path: Path) -> None:
    for question in ("first", "second", "third", "fourth", "fifth"):
        book.add([item(question)])
    free = item("sixth", labels=())
    book.add([free])
    done = label(tmp_path, "a\nu\nr\n3\nc\ncold\nx\ns\na\nc\nmend it\n")
    assert done.exit_code == 0, done.output
    assert states(book) == [
        ("first", ItemState.REJECTED, None),
        ("second", ItemState.CORRECTED, "noise"),
        ("third", ItemState.CORRECTED, "cold"),
        ("fourth", ItemState.SKIPPED, None),
        ("fifth", ItemState.ACCEPTED, "leak"),
        ("sixth", ItemState.CORRECTED, "mend it"),
    ]
    assert "You said" not in done.output and "'x' is none of the answers" in done.output
    assert "Nothing is left to review here." in done.output
    assert done.output.endswith("6 reviewed\n")


def test_work_ends_where_it_is_left(book: ReviewBook, tmp_path: Path) -> None:
    book.add([item("first"), item("second")])
    assert label(tmp_path, "c\nhot\nq\n").output.endswith("0 reviewed\n")
    assert label(tmp_path, "a\nq\n").output.endswith("1 reviewed\n")
    assert label(tmp_path, "a\n").exit_code == 0
    assert {state for _, state, _ in states(book)} == {ItemState.ACCEPTED}
    assert "cannot be the name of the annotator" in label(tmp_path, "", "--as", "-").output


def test_what_others_wrote_steers_no_terminal(book: ReviewBook, tmp_path: Path) -> None:
    book.add([item("\x1b[2J[bold]clear[/bold] \x07", "\x9b1m", labels=())])
    shown = label(tmp_path, "q\n").output
    assert "[bold]clear[/bold]" in shown
    assert not any(letter in shown for letter in "\x1b\x07\x9b")


def test_a_dispute_is_settled_with_all_voices_in_view(book: ReviewBook, tmp_path: Path) -> None:
    one, other = item("first", wanted=2), item("second", wanted=2)
    book.add([one])
    book.add([other])
    for new in (one, other):
        book.decide([Decision(new.id, ACCEPT)], "ben")
        book.decide([Decision(new.id, REJECT)], "ada")
    done = label(tmp_path, "s\na\n", "--settle")
    assert "ben: accept" in done.output and "ada: reject" in done.output
    assert states(book) == [
        ("first", ItemState.DISPUTED, None),
        ("second", ItemState.ACCEPTED, "leak"),
    ]


def test_a_comparison_asks_which_is_better(book: ReviewBook, tmp_path: Path) -> None:
    new = pair("first", "tighten it", "pray")
    book.add([new])
    done = label(tmp_path, "a\n1\n", "--kind", "human_eval")
    assert "'a' is none of the answers" in done.output
    said = book.item(new.id).by("ada")
    first = Verdict.SECOND if is_turned(new.id, "ada") else Verdict.FIRST
    assert said is not None and said.verdict is first
