"""Shadow arms beside what was seen: paired, a unit counted once, and never sure of nothing."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from adapters import tables
from adapters.checks import OneOf
from adapters.errors import InvalidExperiment
from adapters.experiments.assignment import Split
from adapters.experiments.book import ExperimentBook
from adapters.experiments.conversations import running_conversations
from adapters.experiments.metrics import measure
from adapters.experiments.shadows import ShadowReading, compare, look_at
from adapters.experiments.statistics.sequential import SequentialTest
from adapters.interactions import Feedback, Interaction, JudgedInteraction, Outcome, unit_digest
from adapters.registry import Registry
from adapters.store import Store
from tests.adapters.experiments.designs import design
from tests.adapters.experiments.test_metrics import DAY, answer, asks, thumb
from tests.adapters.test_store import records
from training.curation.interactions import rows_from_log

CONTROL = {"name": "control", "model": "base"}
QUIET = {"name": "quiet", "model": "base", "shadow": 1.0}
JUDGE = {"name": "strict", "url": "http://127.0.0.1/v1", "model": "judge"}
Compare = Callable[..., dict[str, ShadowReading]]


@pytest.fixture
def compared(store: Store, registry: Registry) -> Compare:
    """Store these records, begin an experiment of this design, and compare; by metric."""

    def read(
        *items: Interaction | Feedback, checks: Any = (), **changes: Any
    ) -> dict[str, ShadowReading]:
        store.take(records(*items))
        made = design(**{"arms": [CONTROL, QUIET], **changes})
        entry = ExperimentBook(store, registry).begin(made)
        return {one.metric: one for one in compare(store, entry, checks=checks)}

    return read


def seen(number: int, unit: str = "u", said: str = "hi", **changes: Any) -> Interaction:
    return answer(str(number), unit, "control", response={"text": said}, **changes)


def shadow(number: int, unit: str = "u", said: str = "hi", **changes: Any) -> Interaction:
    """What the shadow arm said to what the answer of this number was seen for."""
    values = {"shadow_of": str(number), "standing": "shadow", "response": {"text": said}, **changes}
    return answer(f"{number}.5", unit, values.pop("arm", "quiet"), **values)


def test_a_pair_differs_by_each_signal(compared: Compare) -> None:
    found = compared(
        seen(1, total_ms=100.0, completion_tokens=10),
        shadow(1, total_ms=80.0, completion_tokens=25, said="I cannot help with that."),
    )
    said = {name: (one.seen, one.shadow, one.difference) for name, one in found.items()}
    assert said == {
        "agreement": (1.0, 0.0, -1.0),
        "error": (0.0, 0.0, 0.0),
        "refusal": (0.0, 1.0, 1.0),
        "total_ms": (100.0, 80.0, -20.0),
        "completion_tokens": (10.0, 25.0, 15.0),
    }
    assert found["total_ms"].words == (
        "quiet beside what was seen, total_ms not told apart: 80 against 100, -20, "
        "1 pairs of 1 units"
    )


def test_a_unit_counts_once(compared: Compare) -> None:
    found = compared(
        *(seen(n, "ann", total_ms=100.0) for n in (1, 2, 3)),
        *(shadow(n, "ann", total_ms=100.0 + 10 * n) for n in (1, 2, 3)),
        seen(4, "bob", total_ms=50.0),
        shadow(4, "bob", total_ms=40.0),
    )["total_ms"]
    assert (found.seen, found.shadow, found.difference) == (75, 80, 5)
    assert (found.pairs, found.units) == (4, 2)


def test_only_pairs_count(compared: Compare) -> None:
    found = compared(
        seen(1, total_ms=100.0),
        shadow(1, total_ms=90.0),
        seen(2, total_ms=900.0),
        shadow(3, total_ms=900.0),
        answer("4", "u", "new", total_ms=900.0),
        shadow(4, total_ms=900.0),
        seen(5),
        shadow(5, outcome=Outcome.ERROR, exposed=False, total_ms=900.0),
    )
    assert (found["total_ms"].difference, found["total_ms"].pairs) == (-10, 1)
    assert (found["error"].difference, found["error"].pairs) == (0.5, 2)
    assert found["agreement"].pairs == 1


@pytest.mark.parametrize(
    ("one", "other", "agree"),
    [
        ("Yes.", " yes.\n", 1.0),
        ("a\u0301 la carte", "\u00c1  la carte", 1.0),
        ("ﬁne", "fine", 1.0),
        ("", "", 1.0),
        ("Yes.", "Yes", 0.0),
    ],
)
def test_answers_agree_but_for_case_spaces_and_form(
    compared: Compare, one: str, other: str, agree: float
) -> None:
    found = compared(seen(1, said=one), shadow(1, said=other))
    assert (found["agreement"].seen, found["agreement"].shadow) == (1.0, agree)


def test_judges_and_checks_are_compared_where_they_said_something(compared: Compare) -> None:
    short = OneOf(kind="one_of", name="short", values=("yes",), task="vote")
    vote = asks("?", metadata={"task": "vote"})
    found = compared(
        *(one(n, said="yes", request=vote) for n, one in ((1, seen), (2, shadow))),
        seen(2, said="maybe", request=vote),
        seen(3, said="yes"),
        shadow(3, said="no"),
        thumb("2", 0.0, metric="judge:strict"),
        thumb("2.5", 1.0, metric="judge:strict", preferred_over="2"),
        thumb("3", 1.0, metric="judge:strict"),
        thumb("3", True, metric="judge:other"),
        thumb("3.5", True, metric="judge:other"),
        judges=[JUDGE],
        checks=[short],
    )
    assert set(found) >= {"judge:strict", "check:short"} and "judge:other" not in found
    for name in ("judge:strict", "check:short"):
        one = found[name]
        assert (one.seen, one.shadow, one.pairs) == (0.0, 1.0, 1), name


def test_a_check_that_the_pack_has_not_is_refused(compared: Compare) -> None:
    with pytest.raises(InvalidExperiment, match="check"):
        compared(metric={"name": "check:short"})


def test_every_shadow_arm_is_read_by_itself(store: Store, registry: Registry) -> None:
    store.take(
        records(
            seen(1, total_ms=100.0),
            shadow(1, total_ms=70.0),
            shadow(1, total_ms=150.0, arm="other", id="other"),
        )
    )
    arms = [CONTROL, QUIET, {**QUIET, "name": "other"}, {"name": "live", "model": "base"}]
    entry = ExperimentBook(store, registry).begin(design(arms=arms))
    found = compare(store, entry)
    assert {o.arm: o.difference for o in found if o.metric == "total_ms"} == {
        "quiet": -30.0,
        "other": 50.0,
    }


def test_nothing_to_compare_is_no_error(compared: Compare) -> None:
    assert compared(arms=[CONTROL, {"name": "new", "model": "base"}]) == {}


def test_no_pairs_yet_is_no_error(compared: Compare) -> None:
    assert compared(seen(1)) == {}


def test_a_sure_difference_is_told_with_its_interval(compared: Compare) -> None:
    noise = np.random.default_rng(0).normal(0, 5, 200).tolist()
    found = compared(
        *(seen(n, f"u{n}", total_ms=100.0) for n in range(1, 201)),
        *(
            shadow(n, f"u{n}", said="hi" * (n % 3), total_ms=120.0 + noise[n - 1])
            for n in range(1, 201)
        ),
    )
    # One of five questions, planned for the guardrails' quarter of what was seen, and for 0.05.
    test = SequentialTest(0.05 / 5)
    one, agreement = found["total_ms"], found["agreement"]
    assert (one.low, one.high) == pytest.approx(look_at(np.array(noise) + 20, 25.0, test))
    assert one.low is not None and one.high is not None
    assert 17.5 < one.low < 20 < one.high < 22.5
    assert one.words.startswith("quiet beside what was seen, total_ms higher: 120")
    assert f"[{one.low:+.4g}, {one.high:+.4g}], 200 pairs of 200 units" in one.words
    interval = look_at(np.where(np.arange(1, 201) % 3 == 1, 0.0, -1.0), 0.05, test)
    assert agreement.shadow == 67 / 200
    assert (agreement.low, agreement.high) == pytest.approx(interval)
    assert (found["error"].low, found["error"].high) == (None, None), "nothing ever varied"


def test_looking_often_keeps_the_error_rate() -> None:
    rng, test = np.random.default_rng(0), SequentialTest(0.05)
    runs, wrong = 1000, 0
    for _ in range(runs):
        # Rare and skewed, as differences of refusals are; a look excludes what any before it did.
        differences = rng.choice([-1.0, 0.0, 1.0], size=400, p=[0.1, 0.8, 0.1])
        low, high = look_at(differences, 0.1, test)
        wrong += low > 0 or high < 0
    assert wrong / runs <= 0.05 + 3 * (0.05 * 0.95 / runs) ** 0.5


def test_a_difference_that_never_varies_is_seen() -> None:
    low, high = look_at(np.full(60, -1.0), 0.05, SequentialTest(0.05))
    assert low < -1 < high < 0


def test_shadows_do_not_disturb_the_analysis(store: Store, registry: Registry) -> None:
    store.take(
        records(
            seen(1, "ann", session="s"),
            shadow(1, "ann", session="s"),
            thumb("1", False),
            thumb("1.5", True),
        )
    )
    arms = [CONTROL, {"name": "new", "model": "base"}, QUIET]
    entry = ExperimentBook(store, registry).begin(design(arms=arms))
    found = measure(store, entry)
    assert list(found.samples["thumb"]["control"].y) == [0.0]
    assert found.samples["thumb"]["quiet"].units == 0 and found.populations["quiet"].answers == 0
    assert (found.switched, found.unreadable) == (0, 0)


def test_shadows_are_no_past_of_a_unit(store: Store, registry: Registry) -> None:
    before: dict[str, Any] = {"experiment": "before", "created": time.time() - DAY}
    store.take(
        records(
            seen(1, "ann", **before),
            shadow(1, "ann", **before),
            thumb("1", True, created=time.time() - DAY),
            thumb("1.5", False, created=time.time() - DAY),
            seen(2, "ann"),
            thumb("2", True),
        )
    )
    entry = ExperimentBook(store, registry).begin(design())
    assert list(measure(store, entry).samples["thumb"]["control"].c) == [1.0]


def test_a_conversation_goes_on_in_the_arm_that_was_seen(store: Store) -> None:
    now = time.time()
    store.take(
        records(
            seen(1, "ann", session="s", created=now - 2),
            shadow(1, "ann", session="s", created=now - 1),
        )
    )
    moved = Split(design(), {"control": 0.0, "new": 1.0})
    with store.transaction() as connection:
        kept = running_conversations(connection, moved)
    assert kept == {unit_digest("s"): ("control", 1.0)}


def test_what_nobody_saw_is_no_example() -> None:
    praise = Feedback("f", "1.5", 1.0, "thumb", 1.0)
    rows, removed = rows_from_log([JudgedInteraction(shadow(1), (praise,))])
    assert (rows, removed) == ([], [])


def test_who_deletes_an_answer_deletes_its_shadows(store: Store) -> None:
    store.take(records(seen(1), shadow(1), seen(2), shadow(2), thumb("1.5", True)))
    assert store.forget(receipt="1") == 2
    assert [judged.interaction.id for judged in store.judged()] == ["2", "2.5"]
    assert store.count(tables.feedback) == 0
