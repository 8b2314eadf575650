"""What is removed from raw examples, why, and what the digest depends on."""

from collections import Counter
from dataclasses import replace
from random import Random

import pytest

from tests.training.conftest import PLACES, SAID
from training.curation.curate import Dataset, Filters, Scrub, curate
from training.curation.personal import Personal
from training.curation.poisoning import drop_poisoned
from training.curation.removal import Reason
from training.errors import TooFewRows
from training.rows import Kind, Row, Source


def left_out(dataset: Dataset) -> set[tuple[str, Reason]]:
    return {(item.origin, item.reason) for item in dataset.removed}


def asked(text: str, answer: str, **facts: object) -> Row:
    return Row((("user", text),), answer, **facts)  # type: ignore[arg-type]


def test_repetitions_contradictions_and_long_rows_are_removed_and_listed(rows: list[Row]) -> None:
    twin = replace(rows[0], origin="twin")
    other_answer = replace(rows[1], answer="cold", label="cold", origin="other")
    long = replace(rows[2], answer="x" * 20_000, origin="long")
    dataset = curate([*rows[:2], twin, other_answer, long])
    assert dataset.rows == (rows[0],)
    assert dataset.counts == {"kept": 1, "too_long": 1, "contradiction": 2, "duplicate": 1}
    assert left_out(dataset) == {
        ("long", Reason.TOO_LONG),
        ("rows:1", Reason.CONTRADICTION),
        ("other", Reason.CONTRADICTION),
        ("twin", Reason.DUPLICATE),
    }
    contradictions = {
        item.detail for item in dataset.removed if item.reason is Reason.CONTRADICTION
    }
    (detail,) = contradictions
    assert detail.endswith("cold / noise")


def test_the_digest_depends_on_content_only(rows: list[Row]) -> None:
    one, moved = curate(rows[:3]), curate([replace(row, origin="file") for row in rows[:3]])
    assert one.digest == moved.digest != curate(rows[:4]).digest


def test_the_order_of_files_changes_nothing(rows: list[Row]) -> None:
    some = [*rows, *(replace(row, origin=f"copy {row.origin}") for row in rows[:9])]
    shuffled = Random(1).sample(some, len(some))
    assert curate(shuffled).rows == curate(some).rows
    assert left_out(curate(shuffled)) == left_out(curate(some))


def test_a_thousand_near_copies_are_one_row(rows: list[Row]) -> None:
    text = "one two three four five six seven eight nine ten eleven twelve "
    copies = [asked(f"{text}{n}", "leak", origin=f"copy:{n:04}") for n in range(1000)]
    dataset = curate([*rows[:5], *copies])
    assert dataset.counts == {"kept": 6, "near_duplicate": 999}
    assert {row.origin for row in dataset.rows} == {*(row.origin for row in rows[:5]), "copy:0000"}


def test_near_copies_with_another_decision_stay() -> None:
    text = "one two three four five six seven eight nine ten eleven twelve "
    two = [asked(text + "a", "leak", origin="1"), asked(text + "b", "noise", origin="2")]
    assert curate(two).rows == tuple(two)


def test_the_owners_decision_and_a_clear_majority_prevail() -> None:
    rows = [
        asked("It drips", "leak", origin="pack", source=Source.PACK),
        *(asked("It drips", "cold", origin=f"user {n}", unit=f"u{n}") for n in range(4)),
        *(asked("It hums", "noise", origin=f"most {n}", unit=f"u{n}") for n in range(3)),
        asked("It hums", "cold", origin="single", unit="u9"),
    ]
    dataset = curate(rows)
    assert [(row.origin, row.answer) for row in dataset.rows] == [
        ("pack", "leak"),
        ("most 0", "noise"),
    ]
    contradicted = [i.origin for i in dataset.removed if i.reason is Reason.CONTRADICTION]
    assert contradicted == ["user 0", "user 1", "user 2", "user 3", "single"]


def test_a_question_may_have_several_good_texts() -> None:
    texts = [
        "Close the valve, then wait for ten minutes before you look again.",
        "Turn the machine off and call the service desk in the morning, please.",
    ]
    assert len(curate([asked("It drips", text, origin=text) for text in texts]).rows) == 2


def test_what_some_like_and_others_dislike_is_removed() -> None:
    rows = [
        asked("It drips", "Close the valve.", origin="up", desirable=True),
        asked("It drips", "Close the valve.", origin="down", desirable=False),
        asked("It hums", "It is the fan", origin="one way", rejected="It is the pump"),
        asked("It hums", "It is the pump", origin="other way", rejected="It is the fan"),
        asked("It stinks", "Open a window.", origin="kept", desirable=False),
    ]
    dataset = curate(rows)
    assert [row.origin for row in dataset.rows] == ["kept"]
    assert dataset.counts == {"kept": 1, "contradiction": 4}


def test_insults_are_not_taught_but_may_be_disliked() -> None:
    insult = "You are a fucking idiot"
    rows = [
        asked("It drips", insult, origin="praised"),
        asked("It hums", insult, origin="blamed", desirable=False),
        asked("Where is it", "The rectum is the end of the intestine", origin="medical"),
    ]
    assert left_out(curate(rows)) == {("praised", Reason.TOXIC)}
    assert len(curate(rows, filters=Filters(toxicity=False)).rows) == 3


def test_only_allowed_languages_stay() -> None:
    german = asked(
        "Wie kann ich die Maschine entkalken, wenn sie viel zu wenig Wasser gibt?",
        "scale",
        origin="de",
    )
    english = asked(
        "How can I descale the machine if it gives too little water to me?", "scale", origin="en"
    )
    short = asked("Pumpe kaputt", "pump", origin="short")
    rows = [german, english, short]
    allowed = Filters(languages=frozenset({"en"}))
    assert left_out(curate(rows, filters=allowed)) == {("de", Reason.LANGUAGE)}
    assert len(curate(rows).rows) == 3


def test_personal_data_is_replaced_in_rows_of_users_only() -> None:
    pack = asked("Route a@b.com", "sip", origin="pack", source=Source.PACK)
    user = asked("I am c@d.com and it drips", "leak", origin="user")
    by_default = curate([pack, user])
    assert [row.question for row in by_default.rows] == [
        "Route a@b.com",
        "I am <EMAIL> and it drips",
    ]
    assert by_default.personal == {"replaced": {Personal.EMAIL: 1}, "left": {Personal.EMAIL: 1}}
    everyone = curate([pack, user], filters=Filters(scrub=Scrub.ALL))
    assert everyone.rows[0].question == "Route <EMAIL>"


def test_one_user_gives_no_more_than_a_share_of_each_kind(rows: list[Row]) -> None:
    some = [replace(row, unit="u1") if n < 30 else row for n, row in enumerate(rows)]
    some += [replace(row, desirable=True) for row in some[:5]]
    dataset = curate(some, filters=Filters(unit_rows=7))
    given = Counter((row.kind, row.unit) for row in dataset.rows)
    assert given == {(Kind.SFT, "u1"): 7, (Kind.SFT, None): 30, (Kind.KTO, "u1"): 5}
    assert dataset.counts == {"kept": 42, "unit_cap": 23}


def test_general_rows_are_a_share_of_all_answers(rows: list[Row]) -> None:
    general = [
        asked(f"Tell me of {place}", f"It is a {place}.", origin=place, source=Source.GENERAL)
        for place in PLACES
    ]
    dataset = curate(rows[:36], general=general)
    assert Counter(row.source for row in dataset.rows) == {Source.FILE: 36, Source.GENERAL: 4}
    assert curate(rows[:36], general=general).rows == dataset.rows


def test_a_user_who_answers_wrongly_is_removed_with_all_rows(rows: list[Row]) -> None:
    some = [
        replace(row, origin=f"{word} {row.origin}", unit=f"u{n // 3 % 6}", prompt=(("user", text),))
        for word in ("now", "then", "again")
        for n, row in enumerate(rows)
        for text in [f"{word} {row.question}"]
    ]
    wrong = {"leak": "noise", "noise": "cold", "cold": "leak"}
    poisoned = [
        replace(row, answer=wrong[row.answer], label=wrong[row.answer]) if row.unit == "u0" else row
        for row in some
    ]
    pair = replace(some[0], rejected="cold", origin="pair")
    kept, removed = drop_poisoned([*poisoned, pair])
    assert {row.unit for row in kept} == {"u1", "u2", "u3", "u4", "u5"}
    assert len(kept) == 144
    assert {item.reason for item in removed} == {Reason.DOUBTFUL_UNIT}
    assert "pair" in {item.origin for item in removed}
    assert drop_poisoned(some) == (some, [])


def test_single_wrong_answers_are_removed_and_the_owners_are_not(rows: list[Row]) -> None:
    owners = [replace(row, source=Source.PACK) for row in rows]
    wrong = asked(f"at last: {SAID['leak']}", "cold", origin="wrong", unit="u1", task="fault")
    right = asked(f"at last: {SAID['leak']}!", "leak", origin="right", unit="u2", task="fault")
    mistaken = replace(owners[0], answer="cold", origin="mistaken")
    kept, removed = drop_poisoned([*owners[1:], mistaken, wrong, right])
    assert [(item.origin, item.reason) for item in removed] == [("wrong", Reason.DOUBTFUL_LABEL)]
    assert len(kept) == 61


def test_a_dataset_without_rows_is_an_error(rows: list[Row]) -> None:
    with pytest.raises(TooFewRows, match=r"no usable example is left of 2 \(2 too_long\)"):
        curate(rows[:2], filters=Filters(max_characters=10))
