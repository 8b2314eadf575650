"""What an analysis reads: the right units in the right arms, whenever feedback came."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from adapters.checks import Check, OneOf
from adapters.errors import InvalidExperiment
from adapters.experiments.book import ExperimentBook
from adapters.experiments.metrics import measure
from adapters.experiments.observations import Measurement, Population
from adapters.experiments.signals import REFUSAL
from adapters.interactions import Feedback, Interaction, Outcome, unit_digest
from adapters.registry import Registry
from adapters.store import Store
from tests.adapters.experiments.designs import design
from tests.adapters.test_store import interaction, records

START = 4e9  # after any experiment's beginning
DAY = 86_400.0
Look = Callable[..., Measurement]


@pytest.fixture
def look(store: Store, registry: Registry) -> Look:
    """Store these records, begin an experiment of this design, and measure it."""

    def measured(
        *items: Interaction | Feedback, checks: Sequence[Check] = (), **changes: Any
    ) -> Measurement:
        store.take(records(*items))
        entry = ExperimentBook(store, registry).begin(design(**changes))
        return measure(store, entry, checks=checks)

    return measured


def answer(receipt: str, unit: str = "u", arm: str | None = "new", **changes: Any) -> Interaction:
    """An answer of the experiment; receipts are numbers, and tell the order."""
    values = {
        "created": START + float(receipt),
        "experiment": "e",
        "arm": arm,
        "standing": "assigned",
        "experiment_unit": unit,
        "unit": unit,
        "exposed": True,
        **changes,
    }
    return interaction(receipt, **values)


def thumb(receipt: str, value: object, *, after: float = 1.0, **changes: Any) -> Feedback:
    values = {
        "interaction_id": receipt,
        "created": START + float(receipt) + after,
        "metric": "thumb",
        "value": value,
        **changes,
    }
    return Feedback(id="-".join(map(str, values.values())), **values)


def asks(text: str, turns: int = 1, **more: Any) -> dict[str, Any]:
    """A request whose last question is `text`, in a conversation of so many questions."""
    said = [{"role": "user", "content": "hm"}, {"role": "assistant", "content": "hm"}]
    return {"messages": [*said * (turns - 1), {"role": "user", "content": text}], **more}


def numbers(values: np.ndarray[Any, Any]) -> list[float]:
    return [float(value) for value in values]


def test_feedback_becomes_one_number_for_each_unit(look: Look) -> None:
    found = look(
        answer("1", "ann"),
        answer("2", "bob"),
        answer("3", "ann"),
        answer("4", "eve", "control"),
        answer("5", "joe"),
        thumb("1", True),
        thumb("2", False),
        thumb("3", False),
        thumb("4", True),
        thumb("4", 7.0, metric="stars"),
    )
    new = found.samples["thumb"]["new"]
    assert (numbers(new.y), numbers(new.x)) == ([0.5, 0.0], [1, 1])
    assert numbers(new.first) == [START + 1, START + 2]
    assert numbers(found.samples["thumb"]["control"].y) == [1.0]
    assert found.populations == {"control": Population(1, 1, 1, 1), "new": Population(3, 3, 4, 4)}
    assert numbers(found.populations["new"].first) == [START + 1, START + 2, START + 5]


def test_a_ratio_weighs_every_answer(look: Look) -> None:
    found = look(
        *(answer(str(n), "ann" if n < 3 else "bob", total_ms=10.0 * n) for n in (1, 2, 3)),
        guardrails=[{"name": "total_ms", "margin": 5}],
    )
    new = found.samples["total_ms"]["new"]
    assert (numbers(new.y), numbers(new.x)) == ([30, 30], [2, 1])


def test_late_feedback_counts_within_its_window_and_the_newest_wins(look: Look) -> None:
    found = look(
        *(answer(str(n), f"u{n}") for n in range(1, 5)),
        thumb("1", True, after=6 * DAY),
        thumb("2", True, after=8 * DAY),
        thumb("3", False, after=2 * DAY),
        thumb("3", True, after=DAY),
        thumb("4", "down", after=-60),
        feedback_days=7,
    )
    assert numbers(found.samples["thumb"]["new"].y) == [1, 0, 0]


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("proportion", True, [1]),
        ("proportion", 0.25, [0.25]),
        ("proportion", 4.0, []),
        ("proportion", "thumbs_up", [1]),
        ("proportion", "well…", []),
        ("mean", 4.0, [4]),
        ("mean", -2.5, [-2.5]),
        ("mean", None, []),
    ],
)
def test_values_are_read_as_the_metrics_kind_has_them(
    look: Look, kind: str, value: object, expected: list[float]
) -> None:
    metric = {"name": "thumb", "kind": kind, "minimum_effect": 0.1}
    found = look(answer("1"), thumb("1", value), metric=metric)
    assert numbers(found.samples["thumb"]["new"].y) == expected


def test_one_unit_cannot_carry_the_result(look: Look) -> None:
    many = 10_000
    loud = [answer(str(n), "loud") for n in range(many)]
    others = [answer(str(many + n), f"u{n}") for n in range(100)]
    votes = [thumb(one.id, one.unit != "loud") for one in (*loud, *others)]
    found = look(
        *others,
        *reversed(loud),
        *reversed(votes),
        metric={"name": "thumb", "kind": "ratio", "minimum_effect": 0.1},
        most_judged=5,
    )
    new = found.samples["thumb"]["new"]
    assert (numbers(new.y[:2]), numbers(new.x[:2])) == ([0, 1], [5, 1])
    assert sum(new.y) / sum(new.x) == pytest.approx(100 / 105), "and not 100 / 10,100"
    assert found.capped == many - 5
    assert found.samples["error"]["new"].x[0] == many, "what is no feedback counts as ever"


def test_the_earliest_answers_are_those_that_count(look: Look) -> None:
    found = look(
        *(answer(str(n), "ann", arm) for n, arm in ((1, "new"), (2, "control"), (3, "new"))),
        answer("4", "ann", exposed=False),
        answer("5", "ann"),
        answer("6", "ann"),
        thumb("1", True, after=600),
        thumb("2", "well…", after=300),
        thumb("3", False, after=2),
        thumb("4", False, after=1),
        thumb("5", True, after=1),
        thumb("6", False, after=-3),
        thumb("6", False, metric="topic"),
        most_judged=3,
    )
    # What says nothing takes no place, and neither does what the arm did not answer.
    assert numbers(found.samples["thumb"]["new"].y) == [pytest.approx(2 / 3)]
    assert found.samples["thumb"]["control"].units == 0 and found.capped == 1


def test_preferences_of_one_unit_are_capped_as_well(look: Look) -> None:
    pairs = range(1, 9, 2)
    found = look(
        *(answer(str(n), "loud") for n in pairs),
        *(answer(str(n + 1), f"u{n}", "control") for n in pairs),
        *(thumb(str(n), True, metric="better", preferred_over=str(n + 1)) for n in pairs),
        metric={"name": "preference", "kind": "ratio", "minimum_effect": 0.1},
        most_judged=2,
    )
    won, lost = found.samples["preference"]["new"], found.samples["preference"]["control"]
    assert (numbers(won.x), numbers(lost.x)) == ([2], [1, 1, 1, 1])
    assert found.capped == 2


def test_fallbacks_count_for_their_arm_and_for_nothing_else(look: Look) -> None:
    found = look(
        answer("1", "ann"),
        answer("2", "bob", exposed=False),
        answer("3", "eve", exposed=False, outcome=Outcome.ERROR),
        thumb("2", False),
        guardrails=[{"name": n, "margin": 1} for n in ("error", "fallback", "total_ms")],
    )
    samples = {name: found.samples[name]["new"] for name in found.samples}
    assert numbers(samples["error"].y) == [0, 0, 1]
    assert numbers(samples["fallback"].y) == [0, 1]
    assert samples["total_ms"].units == 1 and samples["thumb"].units == 0
    assert found.populations["new"] == Population(3, 1, 3, 1)


def test_holdout_and_ineligible_are_told_apart(look: Look) -> None:
    found = look(
        answer("1"),
        answer("2", "bob", None, standing="holdout"),
        answer("3", "eve", None, standing="ineligible"),
        answer("4", "joe", "control"),
        answer("5", "joe"),
        thumb("2", True),
        holdout=0.1,
    )
    assert found.populations["holdout"].units == 1 and found.ineligible == 1
    assert numbers(found.samples["thumb"]["holdout"].y) == [1]
    assert found.switched == 1


def test_a_question_asked_again_speaks_against_the_answer(look: Look) -> None:
    signals = [{"name": n, "margin": 1} for n in ("regeneration", "reask")]
    found = look(
        answer("1", "ann", session="s", request=asks("How hot is it?")),
        answer("2", "ann", session="s", request=asks("How hot is it?")),
        answer("3", "ann", session="s", request=asks("But how hot is it?", 2)),
        answer("4", "ann", session="s", request=asks("And the pressure?", 3)),
        answer("5", "ann", session="t", request=asks("And the pressure?")),
        answer("6", "bob", session="t", request=asks("And the pressure?")),
        answer("9999", "bob", session="t", request=asks("And the pressure?")),
        guardrails=signals,
    )
    for name, expected in (("regeneration", [1, 0]), ("reask", [1, 0])):
        sample = found.samples[name]["new"]
        assert numbers(sample.y) == expected and numbers(sample.x) == [5, 2], name


@pytest.mark.parametrize(
    ("text", "refuses"),
    [
        ("I'm sorry, but I can't help with that.", True),
        ("I cannot provide medical advice.", True),
        ("Sorry, I am unable to answer this.", True),
        ("As an AI language model, I have no opinion.", True),
        ("I must decline.", True),
        ("The notes do not contain the answer.", False),
        ("You can't help it: descale monthly.", False),
        ("I can help. Set 93 °C.", False),
        ("Sorry for the delay: set 93 °C.", False),
        ("", False),
    ],
)
def test_refusals_are_found_by_how_they_begin(text: str, refuses: bool) -> None:
    assert bool(REFUSAL.match(text)) is refuses


def test_refusal_is_read_off_the_answer(look: Look) -> None:
    found = look(
        answer("1", response={"text": "I cannot help with that."}),
        answer("2", response={"text": "93 °C"}),
        answer("3", response={"text": None}),
    )
    sample = found.samples["refusal"]["new"]
    assert (numbers(sample.y), numbers(sample.x)) == ([1], [3])


def test_checks_are_read_off_what_the_arm_answered(look: Look) -> None:
    fault = OneOf(name="fault", kind="one_of", task="label", values=("pump",))
    label, other = asks("?", metadata={"task": "label"}), asks("?", metadata={"task": "qa"})
    before = {"created": time.time() - DAY, "unit": "ann", "response": {"text": "pump"}}
    found = look(
        interaction("before", **before, request=label),
        answer("1", "ann", request=label, response={"text": "pump"}),
        answer("2", "ann", request=label, response={"text": "The pump."}),
        answer("3", "bob", request=label, response={"text": "pump"}),
        answer("4", "bob", request=other, response={"text": "Tighten it."}),
        answer("5", "bob", request=asks("?", metadata="none"), response={"text": "no task"}),
        answer("6", "bob", request=label, response={"text": ""}, outcome=Outcome.ERROR),
        answer("7", "bob", request=label, response={"text": "none"}, exposed=False),
        answer("8", "bob", request=label, response={"text": "", "finish_reason": "tool_calls"}),
        answer("9", "eve", request=other, response={"text": "pump"}),
        metric={"name": "check:fault"},
        guardrails=[{"name": "thumb", "margin": 0.1}],
        checks=[fault],
    )
    new = found.samples["check:fault"]["new"]
    assert (numbers(new.y), numbers(new.x)) == ([0.5, 1.0], [1, 1])
    assert numbers(new.c) == [1, 1] and found.covered == pytest.approx(1 / 3)


def test_a_check_that_the_pack_has_not_is_an_error(look: Look) -> None:
    with pytest.raises(InvalidExperiment, match="e measures checks .* legal has not: fault; add"):
        look(metric={"name": "check:fault"})


def test_a_preference_is_won_and_lost_between_arms(look: Look) -> None:
    found = look(
        answer("1", "ann"),
        answer("2", "bob", "control"),
        answer("3", "eve"),
        thumb("1", True, metric="better", preferred_over="2"),
        thumb("3", True, metric="better", preferred_over="1"),
        metric={"name": "preference"},
    )
    won, lost = found.samples["preference"]["new"], found.samples["preference"]["control"]
    assert (numbers(won.y), numbers(lost.y)) == ([1], [0])


def test_slices_part_the_primary_metric(look: Look) -> None:
    found = look(
        answer("1", "ann", request=asks("?", metadata={"tier": "paid"})),
        answer("2", "bob", request=asks("?", metadata={"tier": "free"})),
        answer("3", "eve", request=asks("?", metadata={"tier": ["odd"]})),
        answer("4", "joe", "control", request=asks("?", metadata="none")),
        *(thumb(str(n), n != 2) for n in range(1, 5)),
        thumb("1", "governing_law", metric="topic"),
        slices=["metadata.tier", "feedback:topic", "requested_model"],
    )
    tiers = found.slices["metadata.tier"]
    assert {value: numbers(arms["new"].y) for value, arms in tiers.items()} == {
        "paid": [1],
        "free": [0],
        "['odd']": [1],
    }
    assert numbers(found.slices["feedback:topic"]["governing_law"]["new"].y) == [1]
    assert found.slices["requested_model"]["auto"]["control"].units == 1


@pytest.mark.parametrize("unit", ["session", "user", "key"])
def test_what_was_known_before_comes_along(look: Look, unit: str) -> None:
    yesterday = time.time() - DAY

    def before(number: int, who: str) -> Interaction:
        return interaction(
            f"before-{number}",
            created=yesterday + number,
            unit=unit_digest("a session" if unit == "user" else who),
            key=who,
            request=asks("?", user=who),
        )

    def liked(number: int, value: bool) -> Feedback:
        return thumb("0", value, created=yesterday + 99, interaction_id=f"before-{number}")

    units = {who: unit_digest(who) for who in ("ann", "bob", "eve")}
    found = look(
        *(before(n, who) for n, who in enumerate(("ann", "ann", "bob", "stranger"))),
        *(liked(n, value) for n, value in enumerate((True, False, True, False))),
        *(answer(str(n), one) for n, one in enumerate(units.values(), 1)),
        *(thumb(str(n), True) for n in (1, 2, 3)),
        unit=unit,
    )
    # Nothing is known of eve: the mean of the others says nothing.
    assert numbers(found.samples["thumb"]["new"].c) == [0.5, 1.0, 0.75]
    assert found.covered == pytest.approx(2 / 3)


def test_records_that_cannot_be_read_are_counted(look: Look) -> None:
    old = answer("1", standing="", experiment_unit=None, exposed=False)
    found = look(old, answer("2"), thumb("2", True))
    assert found.unreadable == 1 and found.samples["thumb"]["new"].units == 1


def test_nothing_recorded_is_no_error(look: Look) -> None:
    found = look(slices=["key"])
    assert found.samples["thumb"]["control"].units == 0 and found.slices == {"key": {}}
