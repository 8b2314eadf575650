"""From a log with a known truth to the verdict."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from adapters.experiments.analysis import analyse
from adapters.experiments.book import ExperimentBook
from adapters.experiments.metrics import measure
from adapters.experiments.report import Outcome, Report
from adapters.interactions import Feedback, Interaction
from adapters.interactions import Outcome as Ended
from adapters.registry import Registry
from adapters.store import Store
from tests.adapters.experiments.designs import design
from tests.adapters.experiments.test_metrics import answer, thumb
from tests.adapters.test_store import records

Say = Callable[..., Report]


@pytest.fixture
def say(store: Store, registry: Registry) -> Say:
    """The report on a log of units whose truth is given by arm."""

    def report(log: list[Interaction | Feedback], **changes: Any) -> Report:
        book = ExperimentBook(store, registry)
        entry = book.begin(design(**changes))
        store.take(records(*log))
        return analyse(entry, measure(store, entry), book.moves("e"))

    return report


def log(
    control: float,
    new: float,
    units: int = 1500,
    share: float = 0.5,
    errors: float = 0.0,
    start: int = 0,
    **changes: Any,
) -> list[Interaction | Feedback]:
    """Units with one answer and one thumb each; the arms' rates of thumbs up, and the new arm's of
    errors."""
    random = np.random.default_rng(start)
    found: list[Interaction | Feedback] = []
    for number in range(start, start + units):
        arm = "new" if random.random() < share else "control"
        broken = arm == "new" and random.random() < errors
        fields = {"outcome": Ended.ERROR, "error": "x"} if broken else {}
        found.append(answer(str(number), f"u{number}", arm, **fields, **changes))
        found.append(thumb(str(number), bool(random.random() < (new if arm == "new" else control))))
    return found


def test_a_better_arm_is_called_better_with_its_numbers(say: Say) -> None:
    verdict = say(log(0.3, 0.5)).verdict("new")
    assert verdict.outcome is Outcome.BETTER
    assert verdict.primary.low is not None and 0 < verdict.primary.low < 0.2
    assert "new is better than control: thumb 0.5" in verdict.words
    assert verdict.harmed == () and len(verdict.guardrails) == 5


def test_a_worse_arm_is_called_worse(say: Say) -> None:
    assert say(log(0.5, 0.3)).verdict("new").outcome is Outcome.WORSE


def test_equal_arms_are_not_decided(say: Say) -> None:
    verdict = say(log(0.4, 0.4)).verdict("new")
    assert verdict.outcome is Outcome.UNDECIDED
    assert 0 < verdict.primary.information < 1 and "planned information" in verdict.words


def test_equal_arms_are_not_worse_by_a_margin(say: Say) -> None:
    metric = {"name": "thumb", "margin": 0.15}
    assert say(log(0.4, 0.4), metric=metric).verdict("new").outcome is Outcome.NOT_WORSE


def test_harm_comes_before_betterment(say: Say) -> None:
    verdict = say(log(0.3, 0.6, errors=0.2)).verdict("new")
    assert (verdict.outcome, verdict.harmed) == (Outcome.HARMFUL, ("error",))


def test_a_split_that_was_not_promised_spoils_everything(say: Say) -> None:
    report = say(log(0.3, 0.5, share=0.35))
    assert report.mismatched and report.verdict("new").outcome is Outcome.INVALID
    assert "trust no figure" in report.verdict("new").words


def test_few_units_say_nothing(say: Say) -> None:
    verdict = say(log(0.0, 1.0, units=30)).verdict("new")
    assert verdict.outcome is Outcome.UNDECIDED and verdict.primary.low is None


def test_nothing_yet_is_no_error(say: Say) -> None:
    verdict = say([]).verdict("new")
    assert verdict.outcome is Outcome.UNDECIDED and verdict.primary.units == (0, 0)


def test_a_slice_where_the_arm_is_worse_is_named(say: Say) -> None:
    mixed = [
        *log(0.3, 0.8, key="happy"),
        *log(0.8, 0.3, units=900, start=10_000, key="sad"),
    ]
    verdict = say(mixed, slices=["key"]).verdict("new")
    assert verdict.worse_slices == ("key=sad",)
    assert "worse on key=sad" in verdict.words


def test_a_stage_that_changed_is_compared_with_itself(store: Store, registry: Registry) -> None:
    """Simpson's paradox: everybody is happier later, when the new arm has more of the traffic."""
    book = ExperimentBook(store, registry)
    entry = book.begin(design())
    early, late = log(0.2, 0.2, share=0.1), log(0.7, 0.7, share=0.5, start=10_000)
    store.take(records(*early, *late))
    moves = [
        {"at": "2025-01-01T00:00:00Z", "after": {"weights": {"control": 0.9, "new": 0.1}}},
        {"at": "2096-10-02T08:00:00Z", "after": {"weights": {"control": 0.5, "new": 0.5}}},
    ]
    report = analyse(entry, measure(store, entry), moves)
    assert not report.mismatched
    assert report.verdict("new").outcome is Outcome.UNDECIDED
    assert abs(report.verdict("new").primary.effect) < 0.06
