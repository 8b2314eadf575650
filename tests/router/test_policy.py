"""What policy makes of a decision, and which rules fit: every figure can be checked by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from router.decision import GENERAL, Decision, Reason
from router.policy import explored, permitted, preferred
from router.rules import Asked, Rule, any_of

SHARES = {"legal": 0.6, "medical": 0.3, GENERAL: 0.1}
LEGAL = Decision("legal", 0.6, SHARES, stage=2, router_version="v1")
ALL = ("legal", "medical", GENERAL)
QUESTION = Asked("Please review this NDA.", "auto", ("key_1", "app"), {"team": "contracts"})


class TestPermitted:
    def test_what_is_allowed_stays(self) -> None:
        assert permitted(LEGAL, ("medical", "legal")) is LEGAL

    @pytest.mark.parametrize(
        ("allowed", "target"),
        [(("medical", GENERAL), GENERAL), (("finance", "medical"), "medical"), (("x",), "x")],
    )
    def test_otherwise_general_or_the_best_of_the_rest(
        self, allowed: tuple[str, ...], target: str
    ) -> None:
        expected = replace(LEGAL, target=target, reason=Reason.NOT_ALLOWED)
        assert permitted(LEGAL, allowed) == expected


class TestPreferred:
    @pytest.mark.parametrize(
        ("burdens", "target"),
        [
            ({"legal": 0.25, "medical": 0.0, GENERAL: 0.0}, "legal"),  # 0.35 against 0.3
            ({"legal": 0.35, "medical": 0.0, GENERAL: 0.0}, "medical"),  # 0.25 against 0.3
            ({"legal": 0.55, "medical": 0.3, GENERAL: 0.0}, GENERAL),  # 0.05, 0.0 and 0.1
            ({"medical": 0.0, GENERAL: 0.0}, "medical"),
        ],
    )
    def test_the_best_after_its_burden(self, burdens: dict[str, float], target: str) -> None:
        changed = replace(LEGAL, target=target, reason=Reason.COST)
        assert preferred(LEGAL, burdens) == (LEGAL if target == "legal" else changed)

    def test_a_tie_changes_nothing(self) -> None:
        even = Decision("medical", 0.5, {"legal": 0.5, "medical": 0.5})
        assert preferred(even, {"legal": 0.0, "medical": 0.0}) is even

    @pytest.mark.parametrize(
        "decision",
        [
            replace(LEGAL, target=GENERAL, reason=Reason.BELOW_THRESHOLD),
            Decision(GENERAL, 0.0, {}, Reason.EMPTY_TEXT),
        ],
    )
    def test_doubt_stays_with_general(self, decision: Decision) -> None:
        assert preferred(decision, {"legal": 0.0, GENERAL: 1.0}) is decision


class TestExplored:
    @pytest.mark.parametrize(
        ("draw", "target", "reason", "propensity"),
        [
            (0.00, "legal", Reason.CLASSIFIER, 0.8),
            (0.10, "medical", Reason.EXPLORATION, 0.1),
            (0.29, GENERAL, Reason.EXPLORATION, 0.1),
            (0.30, "legal", Reason.CLASSIFIER, 0.8),
            (0.99, "legal", Reason.CLASSIFIER, 0.8),
        ],
    )
    def test_a_draw_decides(
        self, draw: float, target: str, reason: Reason, propensity: float
    ) -> None:
        found = explored(LEGAL, ALL, 0.3, draw)
        assert (found.target, found.reason) == (target, reason)
        assert found.propensity == pytest.approx(propensity)

    @given(st.floats(0.001, 0.5), st.integers(1, 6))
    def test_propensities_are_the_shares_of_the_draws(self, rate: float, others: int) -> None:
        allowed = ("legal", *(f"d{n}" for n in range(others)))
        draws = [(number + 0.5) / 20_000 for number in range(20_000)]
        found = [explored(LEGAL, allowed, rate, draw) for draw in draws]
        for decision in {one.target: one for one in found}.values():
            share = sum(one.target == decision.target for one in found) / len(found)
            assert share == pytest.approx(decision.propensity, abs=2e-4)

    @pytest.mark.parametrize("decision", [LEGAL, Decision(GENERAL, 0.0, {}, Reason.EMPTY_TEXT)])
    def test_without_a_rate_or_probabilities_nothing_is_explored(self, decision: Decision) -> None:
        rate = 0.0 if decision.probabilities else 0.5
        assert explored(decision, ALL, rate, 0.0) is decision


@pytest.mark.parametrize(
    ("rule", "fits"),
    [
        (Rule("r", "legal", keys=frozenset({"key_1"})), True),
        (Rule("r", "legal", keys=frozenset({"app", "other"})), True),
        (Rule("r", "legal", keys=frozenset({"other"})), False),
        (Rule("r", "legal", metadata=(("team", "contracts"),)), True),
        (Rule("r", "legal", metadata=(("team", "contracts"), ("tier", "gold"))), False),
        (Rule("r", "legal", models=frozenset({"auto"})), True),
        (Rule("r", "legal", models=frozenset({"gpt-4o-mini"})), False),
        (Rule("r", "legal", keywords=any_of(["nda"]), keys=frozenset({"app"})), True),
        (Rule("r", "legal", keywords=any_of(["nda"]), keys=frozenset({"other"})), False),
    ],
)
def test_all_conditions_of_a_rule_must_hold(rule: Rule, fits: bool) -> None:
    assert rule.fits(QUESTION) is fits


@pytest.mark.parametrize(
    ("keyword", "text", "found"),
    [
        ("NDA", "sign the nda, please", True),
        ("nda", "the agenda of monday", False),
        ("non disclosure", "a Non\n  disclosure form", True),
        ("c++", "is C++ hard", True),
        ("c.t", "the cat", False),
        ("straße", "die STRASSE", False),
        ("recht", "das Recht!", True),
        ("法律", "法律", True),
        ("nda", "x" * 2_000_000 + " nda", True),
        ("nda", "x" * 1_000_000 + " nda " + "x" * 1_000_000, False),
    ],
)
def test_keywords_are_whole_words_in_any_case(keyword: str, text: str, found: bool) -> None:
    rule = Rule("r", "legal", keywords=any_of([keyword]))
    assert rule.fits(Asked(text, "auto", (), {})) is found
