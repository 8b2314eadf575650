import numpy as np
import pytest

from router.errors import GoalError
from router.quality.goals import Cost, Coverage, Judged, Precision, between, lower_bounds, most_kept

BEFORE = {"general": 0.2, "legal": 0.3, "medical": 0.4}
NAMES = tuple(BEFORE)


def judged(*rows: tuple[str, float, str]) -> Judged:
    """Predicted label, its probability, and the right label, which may be one nobody knows."""
    probabilities = np.zeros((len(rows), 3))
    for row, (best, confidence, _) in enumerate(rows):
        probabilities[row] = (1 - confidence) / 2
        probabilities[row, NAMES.index(best)] = confidence
    labels = [NAMES.index(right) if right in NAMES else -1 for _, _, right in rows]
    return Judged(NAMES, probabilities, np.array(labels))


def ladder(label: str, right: int, wrong: int) -> list[tuple[str, float, str]]:
    """`right` sure predictions, then `wrong` unsure ones."""
    return [(label, 0.95 - i / 10_000, label) for i in range(right)] + [
        (label, 0.6 - i / 10_000, "general") for i in range(wrong)
    ]


def test_clopper_pearson_by_hand() -> None:
    """With no failure in n tries the bound is the n-th root of delta; with no hit it is zero."""
    bounds = lower_bounds(np.array([59, 0]), np.array([59, 10]), 0.05)
    np.testing.assert_allclose(bounds, [0.05 ** (1 / 59), 0.0])


def test_a_precision_keeps_as_many_as_the_bound_allows() -> None:
    confidence = np.linspace(0.99, 0.5, 120)
    right = np.arange(120) < 100
    kept, possible = most_kept(confidence, right, 0.95)
    bounds = lower_bounds(np.array([100, 100]), np.array([kept, kept + 1]), 0.05)
    assert bounds[0] >= 0.95 > bounds[1]
    assert possible == pytest.approx(0.05 ** (1 / 60))


def test_equally_sure_predictions_stay_together() -> None:
    confidence = np.repeat([0.9, 0.8], [70, 30])
    assert most_kept(confidence, np.arange(100) < 75, 0.95)[0] == 70


def test_a_promise_is_kept_nineteen_times_of_twenty() -> None:
    """Right with probability `confidence` in truth: how often does a chosen threshold keep less
    precision than was promised?"""
    random, broken = np.random.default_rng(0), 0
    for _ in range(300):
        confidence = np.sort(random.uniform(0.6, 1, 400))[::-1]
        kept, _ = most_kept(confidence, random.random(400) < confidence, 0.9)
        broken += kept > 0 and confidence[:kept].mean() < 0.9
    assert broken <= 0.05 * 300 + 8


def test_precision_for_each_domain_and_for_one() -> None:
    rows = judged(*ladder("legal", 100, 20), *ladder("medical", 100, 0))
    chosen = Precision(0.95).thresholds(rows, BEFORE)
    assert (chosen["general"], chosen["medical"]) == (0.0, 0.0)
    assert 0.59 < chosen["legal"] < 0.61
    one = Precision(0.95, "legal").thresholds(rows, BEFORE)
    assert one == {**BEFORE, "legal": chosen["legal"]}


@pytest.mark.parametrize(
    ("goal", "message"),
    [
        (Precision(0.95), "medical has 0 predictions, 0 of them wrong, which is enough for 0"),
        (Precision(0.999), "at least 2995 predictions"),
        (Precision(0.9, "general"), "'general' is not a domain of this router; it has legal, medi"),
    ],
)
def test_a_goal_out_of_reach_says_what_is_not(goal: Precision, message: str) -> None:
    with pytest.raises(GoalError, match=message):
        goal.thresholds(judged(*ladder("legal", 100, 0)), BEFORE)


def test_coverage_holds_back_the_least_sure_of_all_labels() -> None:
    rows = judged(
        ("legal", 0.9, "legal"), ("medical", 0.8, "legal"), ("general", 0.7, "general"),
        ("legal", 0.5, "music"),
    )  # fmt: skip
    chosen = Coverage(0.75).thresholds(rows, BEFORE)
    assert chosen == pytest.approx(dict.fromkeys(NAMES, 0.6))
    assert rows.held_back(chosen).tolist() == [False, False, False, True]
    assert Coverage(1.0).thresholds(rows, BEFORE) == dict.fromkeys(NAMES, 0.0)


def test_cost_is_chows_rule() -> None:
    rows = judged(("legal", 0.9, "legal"), ("legal", 0.7, "general"), ("legal", 0.7, "medical"))
    goal = Cost(wrong=5, abstain=1)
    chosen = goal.thresholds(rows, BEFORE)
    assert chosen == {"general": 0.0, "legal": 0.8, "medical": 0.8}
    assert goal.of(rows, rows.held_back(chosen)) == pytest.approx((0 + 0 + 1) / 3)
    assert goal.of(rows, rows.held_back(dict.fromkeys(NAMES, 0.0))) == pytest.approx(10 / 3)


def test_a_threshold_lies_between_what_it_parts() -> None:
    confidence = np.array([0.9, 0.7, 0.5])
    found = [between(confidence, kept) for kept in range(4)]
    assert found == pytest.approx([1.0, 0.8, 0.6, 0.0])
