"""A report is kept as JSON, and read back."""

from dataclasses import asdict

import msgspec
import numpy as np
import orjson
import pytest

from adapters.experiments.analysis import analyse
from adapters.experiments.report import Reading, Report
from tests.adapters.experiments.designs import ARMS, design
from tests.adapters.experiments.samples import entry, measured, sample

DESIGN = design(slices=["key"], guardrails=[])
EVEN = {"control": 1.0, "new": 1.0}


def report(rate: float, units: int = 600, scale: float = 1.0) -> Report:
    """Half of the control's units like it, and this part of the other's, in two slices."""
    halves = [
        {
            "control": sample(scale * np.tile([0.0, 1.0], units // 2)),
            "new": sample(scale * (np.arange(units) % 100 < 100 * rate)),
        }
        for _ in range(2)
    ]
    slices = {"key": {"a": halves[0], "b": halves[1]}}
    found = measured(halves[0], slices=slices, switched=3, covered=0.25)
    return analyse(entry(DESIGN, **EVEN), found, [])


@pytest.mark.parametrize("made", [report(0.7), report(0.5), report(0.7, units=0)])
def test_what_was_kept_is_what_was_told(made: Report) -> None:
    stored = orjson.loads(orjson.dumps(asdict(made)))
    assert Report.from_json(stored) == made
    assert (made.switched, made.covered, made.adjusted) == (3, 0.25, False)


@pytest.mark.parametrize(
    ("low", "high", "numbers"),
    [
        (-0.1, 0.3, "+0.1 [-0.1, +0.3]"),
        (None, None, "+0.1"),
        (0.2, 0.15, "+0.1 [no interval: the effect has changed]"),
    ],
)
def test_numbers_come_with_their_interval(
    low: float | None, high: float | None, numbers: str
) -> None:
    assert Reading("thumb", 0.5, 0.6, 0.1, low, high, 0.01, 0.3, (9, 9)).numbers == numbers


@pytest.mark.filterwarnings("ignore:(overflow|invalid value) encountered:RuntimeWarning")
@pytest.mark.parametrize("scale", [1e160, 1e307])
def test_numbers_near_the_largest_are_kept_too(scale: float) -> None:
    made = report(0.7, scale=scale)
    assert Report.from_json(msgspec.json.decode(orjson.dumps(asdict(made)))) == made
    assert made.verdict("new").primary.low is None


def test_what_is_no_report_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match="sample_ratio"):
        Report.from_json({"experiment": "e"})


def test_shadows_alone_leave_a_report_without_verdicts() -> None:
    shadows = design(arms=[ARMS[0], {**ARMS[1], "shadow": 0.5}], guardrails=[])
    found = measured({"control": sample(np.ones(50))})
    assert analyse(entry(shadows, control=1.0), found, []) == Report("e", 1.0, False, ())
