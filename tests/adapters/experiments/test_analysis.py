"""From a log with a known truth to the verdict."""

from collections.abc import Callable
from dataclasses import replace
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
from tests.adapters.experiments.samples import BEGUN, entry, measured, move, sample
from tests.adapters.experiments.test_metrics import START, answer, thumb
from tests.adapters.test_store import records

Say = Callable[..., Report]


@pytest.fixture
def say(store: Store, registry: Registry) -> Say:
    """The report on a log of units whose truth is given by arm."""

    def report(log: list[Interaction | Feedback], **changes: Any) -> Report:
        book = ExperimentBook(store, registry)
        begun = book.begin(design(**changes))
        store.take(records(*log))
        return analyse(begun, measure(store, begun), book.moves("e"))

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
    reading, differs = verdict.slices["key"]["sad"], verdict.heterogeneity["key"]
    assert verdict.words.startswith("new is better than control: thumb ")
    assert verdict.words.endswith(
        f"{verdict.primary.numbers} overall; worse on key=sad ({reading.numbers}); "
        f"the effect differs between values of key (p = {differs.p_value:.2g})"
    )
    assert differs.p_value < 1e-6 and differs.freedom == 1 and differs.share > 0.9


def test_slices_that_agree_are_not_said_to_differ(say: Say) -> None:
    alike = [*log(0.3, 0.5, key="a"), *log(0.3, 0.5, units=900, start=10_000, key="b")]
    verdict = say(alike, slices=["key"]).verdict("new")
    assert verdict.heterogeneity["key"].p_value > 0.05
    assert verdict.worse_slices == () and verdict.words.endswith(verdict.primary.numbers)


def test_a_slice_is_read_like_the_whole() -> None:
    """By period, and with what is known from before: a slice of everything is everything."""
    rng = np.random.default_rng(4)
    first = BEGUN + np.arange(800.0)
    arms = {}
    for name, effect in (("control", 0.0), ("new", 0.1)):
        c = rng.normal(size=800)
        arms[name] = sample(c + rng.normal(effect + first / 800 % 1, 0.3), first, c)
    made = design(slices=["key"], guardrails=[])
    found = measured(arms, slices={"key": {"all": arms}}, covered=1.0)
    moves = [
        move("2025-01-01T00:00:00Z", control=0.9, new=0.1),
        move("2096-10-02T07:12:00Z", control=0.5, new=0.5),
    ]
    report = analyse(entry(made, control=0.5, new=0.5), found, moves)
    verdict = report.verdict("new")
    assert verdict.slices["key"]["all"] == verdict.primary
    assert report.adjusted and verdict.primary.low is not None
    plain = analyse(entry(made, control=0.5, new=0.5), replace(found, covered=0.0), moves)
    wide = plain.verdict("new").slices["key"]["all"]
    assert wide.low is not None and wide.low < verdict.primary.low


def test_the_course_ends_with_the_reading_and_only_narrows(say: Say) -> None:
    verdict = say(log(0.3, 0.5)).verdict("new")
    course, last = verdict.course, verdict.course[-1]
    assert 90 <= len(course) <= 100
    assert (last.units, last.effect) == (verdict.primary.units, verdict.primary.effect)
    assert (last.low, last.high) == (verdict.primary.low, verdict.primary.high)
    assert last.at == START + 1499
    told = [(point.low, point.high) for point in course if point.low is not None]
    assert course[0].low is None and len(told) > 80
    assert all(a[0] <= b[0] and a[1] >= b[1] for a, b in zip(told, told[1:], strict=False))
    assert [p.at for p in course] == sorted(p.at for p in course)


def test_a_stage_that_changed_is_compared_with_itself(store: Store, registry: Registry) -> None:
    """Simpson's paradox: everybody is happier later, when the new arm has more of the traffic."""
    book = ExperimentBook(store, registry)
    begun = book.begin(design(slices=["key"]))
    for start, rate, share in ((0, 0.2, 0.1), (10_000, 0.7, 0.5)):
        for key in ("a", "b"):
            start += 2000
            store.take(records(*log(rate, rate, share=share, start=start, key=key)))
    moves = [
        {"at": "2025-01-01T00:00:00Z", "after": {"weights": {"control": 0.9, "new": 0.1}}},
        {"at": "2096-10-02T09:00:00Z", "after": {"weights": {"control": 0.5, "new": 0.5}}},
    ]
    verdict = analyse(begun, measure(store, begun), moves).verdict("new")
    assert verdict.outcome is Outcome.UNDECIDED and verdict.worse_slices == ()
    pooled = analyse(begun, measure(store, begun), moves[:1]).verdict("new")
    for reading, over_time in (
        (verdict.primary, pooled.primary),
        *zip(verdict.slices["key"].values(), pooled.slices["key"].values(), strict=True),
    ):
        assert abs(reading.effect) < 0.08 and reading.low is not None and reading.low < 0
        assert over_time.effect > 0.15 and over_time.low is not None and over_time.low > 0
