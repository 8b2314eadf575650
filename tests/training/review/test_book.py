"""The queue: what is next for whom, and what follows from what annotators say."""

import pytest
from sqlalchemy import text

from adapters.errors import InvalidReview, UnknownItem
from adapters.review.book import ReviewBook, Wanted
from adapters.review.item import (
    Decision,
    Example,
    ItemKind,
    ItemState,
    Verdict,
    is_turned,
    shown_to,
)
from adapters.review.proposal import NewItem
from adapters.review.views import seen_by, shown
from adapters.store import Store
from tests.training.review.items import ACCEPT, CORRECT, REJECT, SKIP, item, pair

BOILER = Wanted("boiler")


def say(
    book: ReviewBook, name: str, who: str, verdict: Verdict, answer: str | None = None
) -> ItemState:
    (done,) = book.decide([Decision(name, verdict, answer)], who)
    return done.state


def test_what_is_added_twice_is_there_once(book: ReviewBook) -> None:
    assert book.add([item("it drips"), item("it drips"), item("it hums", "noise")]) == 2
    assert book.add([item("it drips"), item("cold again", "cold")]) == 1
    assert book.counts(Wanted()) == {"boiler": {"synthetic": {"open": 3}}}


@pytest.mark.parametrize(
    ("verdict", "answer", "state", "resolved"),
    [
        (ACCEPT, None, ItemState.ACCEPTED, "leak"),
        (CORRECT, "cold", ItemState.CORRECTED, "cold"),
        (CORRECT, "leak", ItemState.ACCEPTED, "leak"),
        (REJECT, None, ItemState.REJECTED, None),
        (SKIP, None, ItemState.SKIPPED, None),
    ],
)
def test_a_verdict_settles_an_item_for_one(
    book: ReviewBook, verdict: Verdict, answer: str, state: ItemState, resolved: str | None
) -> None:
    new = item("it drips")
    book.add([new])
    assert say(book, new.id, "ada", verdict, answer) is state
    assert book.item(new.id).answer == resolved
    assert book.next(BOILER, "ben") is None


def test_two_annotators_agree_or_somebody_settles_it(book: ReviewBook) -> None:
    new = item("it drips", wanted=2)
    book.add([new])
    assert say(book, new.id, "ada", ACCEPT) is ItemState.OPEN
    assert book.next(BOILER, "ada") is None and book.next(BOILER, "ben") is not None
    assert say(book, new.id, "ben", CORRECT, "cold") is ItemState.DISPUTED
    (done,) = book.decide([Decision(new.id, CORRECT, "cold")], "ada", final=True)
    assert (done.state, done.answer) == (ItemState.CORRECTED, "cold")
    first = done.by("ada")
    assert first is not None and first.verdict is ACCEPT  # what was said before is still there
    assert book.withdraw(new.id, "ada", final=True).state is ItemState.DISPUTED
    assert say(book, new.id, "ben", ACCEPT) is ItemState.ACCEPTED
    assert book.withdraw(new.id, "ben").state is ItemState.OPEN
    assert say(book, new.id, "ben", SKIP) is ItemState.OPEN
    assert say(book, new.id, "cem", ACCEPT) is ItemState.ACCEPTED


def test_a_comparison_is_seen_from_both_sides_and_kept_from_one(book: ReviewBook) -> None:
    new = pair("it drips", "tighten it", "pray", wanted=2)
    book.add([new])
    names = [f"annotator {n}" for n in range(20)]
    straight = next(name for name in names if not is_turned(new.id, name))
    turned = next(name for name in names if is_turned(new.id, name))
    found = book.item(new.id)
    assert (shown_to(found, straight).answer, shown_to(found, turned).answer) == (
        "tighten it",
        "pray",
    )
    say(book, new.id, straight, Verdict.FIRST)
    assert say(book, new.id, turned, Verdict.FIRST) is ItemState.JUDGED
    done = book.item(new.id)
    assert [one.verdict for one in done.annotations] == [Verdict.FIRST, Verdict.SECOND]
    assert seen_by(done, turned)["said"]["verdict"] == Verdict.FIRST
    assert "models" not in str(shown(done)) and "models" not in str(seen_by(done, turned))


@pytest.mark.parametrize(
    ("decision", "problem"),
    [
        (Decision("X", Verdict.FIRST), "first does not fit; one of accept, correct, reject, skip"),
        (Decision("X", CORRECT), "a correction needs the right answer"),
        (Decision("X", CORRECT, "hot"), "'hot' is not one of the labels: cold, leak, noise"),
        (Decision("X", CORRECT, "a\x00"), "not text"),
        (Decision("X", REJECT, comment="x" * 2001), "comment: 2001 characters, at most 2000"),
    ],
)
def test_words_that_do_not_fit_are_refused_with_all_others(
    book: ReviewBook, decision: Decision, problem: str
) -> None:
    good, bad = item("it drips"), item("it hums")
    book.add([good, bad])
    wrong = Decision(bad.id, decision.verdict, decision.answer, decision.comment)
    with pytest.raises(InvalidReview, match=problem):
        book.decide([Decision(good.id, ACCEPT), wrong], "ada")
    assert book.counts(BOILER) == {"boiler": {"synthetic": {"open": 2}}}
    with pytest.raises(UnknownItem, match="nothing to review has the id 'rev-'"):
        book.decide([Decision(good.id, ACCEPT), Decision("rev-", ACCEPT)], "ada")
    for name in ("", "a\nb", "-", "x" * 65):
        with pytest.raises(InvalidReview, match="cannot be the name of the annotator"):
            book.decide([Decision(good.id, ACCEPT)], name)


@pytest.mark.parametrize(
    ("new", "problem"),
    [
        (item(" " * 10, ""), "an item needs a user's message and an answer"),
        (item("x" * 100_001), "characters, at most 100000"),
        (item("half \ud800"), "not text"),
        (item("x", wanted=21), "21 annotators; 1 to 20 are possible"),
        (item("x", batch="../x"), "cannot be the name of the batch"),
        (item("x", kind=ItemKind.HUMAN_EVAL), "comparisons have two answers"),
        (NewItem("No such", ItemKind.LOG, Example((("user", "x"),), "y")), "is no domain's name"),
    ],
)
def test_what_nobody_could_review_is_not_queued(
    book: ReviewBook, new: NewItem, problem: str
) -> None:
    with pytest.raises(InvalidReview, match=problem):
        book.add([item("it drips"), new])
    assert book.counts(Wanted()) == {}


def test_pages_follow_each_other(book: ReviewBook) -> None:
    book.add([item(f"question {n}") for n in range(7)])
    first = book.items(BOILER, limit=4)
    rest = book.items(BOILER, after=first[-1].id, limit=4)
    assert len(first) == 4 and len(rest) == 3
    assert {one.id for one in first + rest} == {one.id for one in book.every(BOILER)}
    assert book.items(Wanted("boiler", (ItemState.ACCEPTED,))) == []
    with pytest.raises(UnknownItem):
        book.items(BOILER, after="\x00")


def test_deleting_what_users_said_deletes_what_is_reviewed_of_it(
    book: ReviewBook, store: Store
) -> None:
    example = Example((("user", "it drips"),), "leak")
    mine, other = (
        NewItem("boiler", ItemKind.LOG, example, receipt=receipt, unit=unit)
        for receipt, unit in (("r1", "u1"), ("r2", "u2"))
    )
    book.add([mine, other])
    book.decide([Decision(mine.id, ACCEPT), Decision(other.id, ACCEPT)], "ada")
    store.forget(unit="u1")
    assert set(book.find([mine.id, other.id])) == {other.id}
    store.forget(receipt="r2")
    assert book.annotators(Wanted()) == {}


def test_a_long_queue_is_read_by_its_indexes(book: ReviewBook, store: Store) -> None:
    queries = {
        "SELECT id FROM review_items WHERE domain = 'd' AND state = 'open' "
        "ORDER BY created, id LIMIT 1": "review_items_by_state",
        "SELECT id FROM review_items WHERE batch = 'b' ORDER BY created, id LIMIT 20": (
            "review_items_by_batch"
        ),
        "SELECT id FROM review_items ORDER BY created, id LIMIT 20": "review_items_by_time",
    }
    with store.transaction() as connection:
        for query, index in queries.items():
            plan = str(connection.execute(text(f"EXPLAIN QUERY PLAN {query}")).all())
            assert index in plan and "TEMP B-TREE" not in plan
