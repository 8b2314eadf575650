"""The store on a real PostgreSQL: the journal's statements are not SQLite's."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from adapters import tables
from adapters.artifacts import Artifacts
from adapters.drainer import Drainer
from adapters.interactions import Feedback
from adapters.journal import Journal
from adapters.registry import Registry
from adapters.review.book import ReviewBook, Wanted
from adapters.review.item import Decision, Example, ItemKind, ItemState, Verdict
from adapters.review.proposal import NewItem
from adapters.store import OnRecord, Store
from tests.adapters.folders import facts, write_adapter
from tests.adapters.test_store import interaction, records
from tests.postgres import postgres


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with postgres(tmp_path_factory.mktemp("postgres")) as url:
        yield url


def test_records_are_taken_once_and_come_back_whole(url: str) -> None:
    store = Store(url)
    said = {"messages": [{"role": "user", "content": 'a NUL \0, "quotes", \\u0000 and 🚂'}]}
    first, second = interaction("a", request=said), interaction("b", created=2.0, arm="x")
    judgement = Feedback("f1", "b", 3.0, "thumb", True, comment="\0")
    for _ in range(3):
        store.take(records(judgement, first, second, first))
    assert [judged.interaction for judged in store.judged("legal")] == [first, second]
    assert [judged.feedback for judged in store.judged()] == [(), (judgement,)]
    hidden = {"experiment": "e", "arm": "quiet", "standing": "shadow"}
    store.take(records(interaction("c", experiment="e"), interaction("d", shadow_of="c", **hidden)))
    assert store.forget(receipt="c") == 2
    assert store.on_record("b") == OnRecord("x", frozenset({"f1"}))
    assert store.forget(unit="u1") == 2
    assert store.count(tables.feedback) == 0
    store.close()


def test_stores_that_open_at_once_make_the_tables_once(url: str) -> None:
    with ThreadPoolExecutor() as pool:
        stores = list(pool.map(Store, [url] * 6))
    assert {store.revision() for store in stores} == {stores[0].revision()}
    for store in stores:
        store.close()


def test_changes_of_two_gateways_are_one_after_the_other(url: str) -> None:
    store = Store(url)
    before = store.revision()

    def change(_: int) -> None:
        with store.change():
            pass

    with ThreadPoolExecutor() as pool:
        list(pool.map(change, range(20)))
    assert store.revision() == before + 20
    store.close()


def test_a_version_is_published_promoted_and_rolled_back(url: str, tmp_path: Path) -> None:
    store = Store(url)
    registry = Registry(store, Artifacts(str(tmp_path / "root"), tmp_path / "cache"))
    first, second = (
        registry.publish("legal", write_adapter(tmp_path / f"staged-{seed}", seed=seed), facts())
        for seed in (0, 1)
    )
    registry.promote(first.version, actor="test")
    registry.promote(second.version, actor="test")
    assert registry.aliases()["legal"].champion == second.version
    registry.rollback("legal", actor="test")
    assert registry.aliases()["legal"].champion == first.version
    store.close()


def test_the_journal_is_drained_into_it(url: str, tmp_path: Path) -> None:
    journal, drainer = Journal(tmp_path), Drainer(url)
    for number in range(700):
        journal.append("interaction", interaction(f"drained-{number}", created=float(number)))
    assert journal.drain(drainer.deliver) == 700
    drainer.close()
    store = Store(url)
    found = [judged.interaction.id for judged in store.judged()]
    assert found == [f"drained-{number}" for number in range(700)]
    assert store.recorded(until=100.0) == 100
    store.close()


def test_annotators_who_decide_at_once_are_all_heard(url: str) -> None:
    store = Store(url)
    book, example = ReviewBook(store), Example((("user", "it drips"),), "leak")
    new = [
        NewItem("legal", ItemKind.SYNTHETIC, example, {"n": n}, wanted=8, receipt=f"r{n}")
        for n in range(3)
    ]
    assert book.add(new) == 3 and book.add(new) == 0

    def decide(number: int) -> None:
        book.decide([Decision(one.id, Verdict.ACCEPT) for one in new], f"annotator {number}")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(decide, range(8)))
    assert {item.state for item in book.every(Wanted("legal"))} == {ItemState.ACCEPTED}
    store.forget(receipt="r0")
    assert book.counts(Wanted()) == {"legal": {"synthetic": {"accepted": 2}}}
    store.close()
