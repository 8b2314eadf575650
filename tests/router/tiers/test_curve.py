import numpy as np
import pytest

from router.tiers.curve import report
from router.tiers.data import Pairs

PROMPTS = ("a", "b", "c", "d")
WEAK = np.array([0.0, 1.0, 0.0, 0.5])
STRONG = np.array([1.0, 1.0, 0.0, 0.5])
COSTS = (np.full(4, 1.0), np.array([9.0, 5.0, 5.0, 5.0]))


def test_the_one_prompt_that_gains_first() -> None:
    found = report(np.array([0.9, 0.3, 0.2, 0.1]), Pairs(PROMPTS, WEAK, STRONG, *COSTS))
    # PGR rises to 1 over the first quarter and stays: 0.25 / 2 + 0.75.
    assert found.apgr == pytest.approx(0.875)
    assert (found.cpt50, found.cpt80) == pytest.approx((0.125, 0.2))
    assert [found.at(share).score for share in (0, 0.25, 1)] == pytest.approx([0.375, 0.625, 0.625])
    assert [found.at(share).cost for share in (0, 0.25, 1)] == pytest.approx([1, 3, 6])
    assert (found.at(0).threshold, found.at(1).threshold) == (None, 0.1)


def test_the_one_prompt_that_gains_last() -> None:
    found = report(np.array([0.1, 0.3, 0.2, 0.9]), Pairs(PROMPTS, WEAK, STRONG))
    assert found.apgr == pytest.approx(0.125)
    assert (found.cpt50, found.cpt80) == pytest.approx((0.875, 0.95))
    assert found.at(0.5).cost is None


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 2, 1, 0]])
def test_equal_scores_are_a_random_router_whatever_the_order(order: list[int]) -> None:
    found = report(np.zeros(4), Pairs(PROMPTS, WEAK[order], STRONG[order]))
    assert (found.apgr, found.cpt50, found.cpt80) == pytest.approx((0.5, 0.5, 0.8))


@pytest.mark.parametrize("strong", [WEAK, WEAK - 0.1])
def test_without_a_gap_nothing_can_be_recovered(strong: np.ndarray) -> None:
    row = report(np.arange(4.0), Pairs(PROMPTS, WEAK, strong)).as_json()
    assert (row["apgr"], row["cpt50"], row["cpt80"]) == (None, None, None)
    assert {point["pgr"] for point in row["curve"]} == {None}
    assert row["strong_score"] == pytest.approx(strong.mean())


def test_choosing_well_can_do_better_than_the_strong_model() -> None:
    pairs = Pairs(PROMPTS[:3], np.array([0.0, 0.0, 1.0]), np.array([1.0, 1.0, 0.0]))
    found = report(pairs.gains, pairs)
    assert found.at(0.67).recovered == pytest.approx(2, abs=0.02)
    assert found.apgr == pytest.approx(2 / 3 + 1.5 / 3)
