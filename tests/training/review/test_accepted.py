"""What annotators accepted is learned from, and nothing else that is in the queue."""

import json
from dataclasses import replace
from pathlib import Path

from msgspec.structs import replace as changed

from adapters.interactions import Feedback
from adapters.review.book import ReviewBook, Wanted
from adapters.review.item import Decision, ItemKind, Verdict
from adapters.store import Store
from tests.adapters.test_store import records
from tests.training.review.items import ACCEPT, CORRECT, REJECT, SKIP, item, pair
from tests.training.test_interactions import INTERACTION
from training.curation.context import Context
from training.curation.curate import Filters, curate
from training.curation.sources import gather
from training.review.accepted import reviewed_rows
from training.review.collecting import collect
from training.rows import Row, Source, read_chat


def keep(store: Store, receipt: str, text: str, *feedback: Feedback, **facts: object) -> None:
    """An answer on record, with feedback."""
    response = {"text": text, "finish_reason": "stop"}
    answer = changed(INTERACTION, id=receipt, response=response, **facts)
    said = [
        changed(one, id=f"{receipt} {n}", interaction_id=receipt) for n, one in enumerate(feedback)
    ]
    store.take(records(answer, *said))


def thumb(up: bool, metric: str = "thumbs") -> Feedback:
    return Feedback("f", "r", 8.0, metric, up)


def asked(text: str) -> dict[str, object]:
    return {"messages": [{"role": "user", "content": text}]}


def test_accepted_and_corrected_items_are_rows(book: ReviewBook, store: Store, pack: Path) -> None:
    right, wrong = item("the tap drips"), item("the tap hums")
    no, later, unsure = item("hm"), item("ha"), item("ho")
    versus = pair("the tap drips", "one", "two")
    book.add([right, wrong, no, later, unsure, versus])
    said = ((right, ACCEPT), (no, REJECT), (unsure, SKIP), (versus, Verdict.TIE))
    book.decide([Decision(one.id, verdict) for one, verdict in said], "ada")
    book.decide([Decision(wrong.id, CORRECT, "noise")], "ada")
    rows = sorted(reviewed_rows(book, "boiler"), key=lambda row: row.answer)
    parts = {"task": "fault", "unit": "ada", "source": Source.REVIEW}
    assert rows == [
        Row((("user", "the tap drips"),), "leak", label="leak", origin=right.id, **parts),
        Row((("user", "the tap hums"),), "noise", label="noise", origin=wrong.id, **parts),
    ]
    assert reviewed_rows(book, "pumps") == []
    found = gather("boiler", [pack], None, None, reviews=store)
    assert len(found.rows) == 62 and set(rows) < set(found.rows)
    assert len(gather("boiler", [pack], None, None).rows) == 60


def test_reviewers_outvote_users_and_their_work_is_not_capped() -> None:
    prompt = (("user", "the tap drips"),)
    users = [
        Row(prompt, "noise", unit=f"u{n}", origin=f"r{n}", source=Source.LOG) for n in range(4)
    ]
    settled = Row(prompt, "leak", unit="ada", origin="rev", source=Source.REVIEW)
    many = [
        replace(settled, prompt=(("user", f"{n} what about number {n}"),), origin=f"rev{n}")
        for n in range(60)
    ]
    kept = curate([*users, settled, *many], filters=Filters(toxicity=False)).rows
    assert {row.origin for row in kept} == {"rev", *(row.origin for row in many)}


def test_personal_data_of_users_is_scrubbed_from_what_was_reviewed() -> None:
    said = (("user", "mail it to jane.roe@example.com please"),)
    row = Row(said, "leak", source=Source.REVIEW)
    (clean,) = curate([row], filters=Filters(toxicity=False)).rows
    assert "jane.roe" not in clean.question


def test_what_the_log_leaves_open_is_collected(book: ReviewBook, store: Store, pack: Path) -> None:
    keep(store, "fine", "leak", thumb(True), request=asked("fine"))
    keep(store, "bad", "leak", thumb(False), request=asked("bad"))
    keep(store, "torn", "leak", thumb(True), thumb(False, "solved"), request=asked("torn"))
    keep(store, "mute", "leak", request=asked("mute"))
    keep(store, "private", "leak", thumb(False), request=asked("private"), train=False)
    keep(store, "out", "leak", thumb(False), request=asked("out"), key="k2")
    keep(store, "one", "leak", thumb(True), request=asked("which?"), unit="u1")
    keep(store, "other", "cold", thumb(True), request=asked("which?"), unit="u2")
    fixed = Feedback("f", "r", 8.0, "thumbs", False, demonstration="cold")
    keep(store, "fixed", "leak", fixed, request=asked("fixed"))
    items = collect(
        "boiler", store, context=Context(), own=read_chat(pack / "train.jsonl"), opted_out=["k2"]
    )
    kinds = {one.receipt: one.kind for one in items}
    assert kinds.pop("bad") is ItemKind.LOG and kinds.pop("torn") is ItemKind.DISAGREEMENT
    (which,) = kinds
    assert which in ("one", "other") and kinds[which] is ItemKind.DISAGREEMENT
    assert book.add(items) == 3 and book.add(items) == 0
    bad = next(one for one in items if one.receipt == "bad")
    book.decide([Decision(bad.id, CORRECT, "cold")], "ada")
    answer, preference = reviewed_rows(book, "boiler")
    assert (answer.answer, answer.unit, answer.time) == ("cold", "u1", 7.0)
    assert (preference.answer, preference.rejected) == ("cold", "leak")
    assert json.dumps(list(book.counts(Wanted())["boiler"])) == '["disagreement", "log"]'
