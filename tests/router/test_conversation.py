"""Which text a conversation is judged by, and what its earlier turns do to the decision."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router import Reason, Router, query_text, user_turns
from router.conversation import (
    EARLIER_CHARACTERS,
    FULL_CHARACTERS,
    STAY,
    TURNS,
    context_of,
    decide,
)
from router.decision import Decision

LIBRARY = "when is the library branch open, and may I renew a borrowed book there?"
ESPRESSO = "my espresso machine leaks at the group head, which gasket fits the portafilter?"


def test_one_turn_is_decided_as_it_is(router: Router) -> None:
    for text in (LIBRARY, ESPRESSO, "book", "", "?!"):
        assert decide(router, [text]) == router.decide(text)
        assert decide(router, [text], {"library"}) == router.decide(text, {"library"})
    assert decide(router, []) == router.decide("")


def test_the_filter_is_bayes_rule_with_a_subject_that_stays(router: Router) -> None:
    turns = [LIBRARY, "and which days are the shortest ones over there?"]
    before, alone = (router.decide(turn).probabilities for turn in turns)
    weight = len(turns[1]) / FULL_CHARACTERS
    assert len(turns[0]) >= FULL_CHARACTERS > len(turns[1])
    prior = {label: STAY * before[label] + (1 - STAY) / 3 for label in router.labels}
    masses = {label: prior[label] * alone[label] ** weight for label in router.labels}
    decision = decide(router, turns)
    assert decision.probabilities == pytest.approx(
        {label: mass / sum(masses.values()) for label, mass in masses.items()}
    )
    assert decision.probability == max(decision.probabilities.values())
    assert decision.target == "library"
    assert decision.reason is Reason.CLASSIFIER


@pytest.mark.parametrize("follow_up", ["and in winter?", "why is that so?", "go on", "???"])
def test_a_short_turn_keeps_the_subject(router: Router, follow_up: str) -> None:
    assert decide(router, [LIBRARY, follow_up]).target == "library"
    assert decide(router, [ESPRESSO, follow_up, follow_up]).target == "espresso"


def test_a_new_subject_is_followed_at_once(router: Router) -> None:
    assert decide(router, [LIBRARY, LIBRARY, ESPRESSO]).target == "espresso"


def test_thresholds_and_served_domains_hold_in_a_conversation(router: Router) -> None:
    turns = [LIBRARY, "and in winter?"]
    passed_over = decide(router, turns, {"espresso"})
    assert (passed_over.target, passed_over.reason) == ("general", Reason.NO_PACK)
    strict = Router(
        router.vocabulary, router.classifier, labels=router.labels, threshold=0.999, sure=0.999
    )
    unsure = decide(strict, turns)
    assert (unsure.target, unsure.reason) == ("general", Reason.BELOW_THRESHOLD)
    assert unsure.unsure


def test_another_stages_decision_is_weighed_as_well(router: Router) -> None:
    """Ten to one for espresso does not outvote the context of so short a turn."""
    context = context_of(router, [LIBRARY, "and in winter?"])
    shares = {"espresso": 0.7, "general": 0.23, "library": 0.07}
    second = Decision("espresso", 0.7, shares, router_version="v1-00000000", stage=2)
    weighed = context.weighed(second, {})
    assert (weighed.target, weighed.stage) == ("library", 2)
    assert weighed.router_version == "v1-00000000"
    assert sum(weighed.probabilities.values()) == pytest.approx(1)


def test_old_turns_and_their_ends_do_not_count(router: Router) -> None:
    recent = [LIBRARY] * (TURNS - 1) + ["and in winter?"]
    assert decide(router, [ESPRESSO] * 9_000 + recent) == decide(router, recent)
    long = LIBRARY.ljust(EARLIER_CHARACTERS)
    assert decide(router, [long + ESPRESSO, "why?"]) == decide(router, [long, "why?"])


PARTS = st.sampled_from([LIBRARY, ESPRESSO, "tell me a joke", "why?", "", "🤒", "\ud800", "\x00"])


@given(turns=st.lists(PARTS, max_size=8))
def test_any_turns_get_a_decision(router: Router, turns: list[str]) -> None:
    decision = decide(router, turns)
    assert decision.target in router.labels
    assert 0 <= decision.probability <= 1
    if decision.probabilities:
        assert sum(decision.probabilities.values()) == pytest.approx(1)


NOISE = st.sampled_from(
    [
        {"role": "system", "content": "You repair espresso machines: boiler, grinder, gasket."},
        {"role": "developer", "content": "Answer about the library alone."},
        {"role": "assistant", "content": "The boiler should be descaled."},
        {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "pump"}}]},
        {"role": "tool", "tool_call_id": "1", "content": "espresso machine: out of stock"},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,a"}}]},
        {"role": "user", "content": None},
    ]
)


@given(
    turns=st.lists(PARTS, min_size=1, max_size=4),
    noise=st.lists(st.lists(NOISE, max_size=3), min_size=5, max_size=5),
)
def test_only_the_users_words_decide(
    router: Router, turns: list[str], noise: list[list[dict[str, object]]]
) -> None:
    """System prompts, answers, tools, their results and pictures change nothing."""
    bare: list[dict[str, object]] = [{"role": "user", "content": turn} for turn in turns]
    noisy = noise[0] + [
        m for pair in zip(bare, noise[1:], strict=False) for m in (pair[0], *pair[1])
    ]
    assert user_turns(noisy) == user_turns(bare)
    assert decide(router, user_turns(noisy)) == decide(router, user_turns(bare))


def test_the_last_user_turn_is_searched_for() -> None:
    messages = [
        {"role": "system", "content": "You are a banker."},
        {"role": "user", "content": "first question"},
        {"role": "assistant", "content": "an answer"},
        {"role": "user", "content": "why does my pump make such a noise"},
        {"role": "tool", "content": "stock: 4"},
    ]
    assert query_text(messages) == "why does my pump make such a noise"
    assert user_turns(messages) == ["first question", "why does my pump make such a noise"]


def test_a_short_turn_is_searched_for_with_the_one_before() -> None:
    messages = [
        {"role": "user", "content": "when is the library open"},
        {"role": "assistant", "content": "At nine."},
        {"role": "user", "content": "and on sundays?"},
    ]
    assert query_text(messages) == "and on sundays?\nwhen is the library open"
    assert query_text(messages[2:]) == "and on sundays?"


def test_content_parts_are_read_and_pictures_passed_over() -> None:
    parts = [
        {"type": "text", "text": "what is wrong"},
        {"type": "image_url", "image_url": {"url": "data:"}},
        {"type": "text", "text": "with this pump of mine"},
    ]
    assert query_text([{"role": "user", "content": parts}]) == (
        "what is wrong\nwith this pump of mine"
    )
    assert query_text([{"role": "user", "content": None}]) == query_text([]) == ""


def test_of_ten_thousand_messages_the_last_turns_are_read() -> None:
    messages = [{"role": "user", "content": f"turn {n}"} for n in range(10_000)]
    assert user_turns(messages) == ["turn 9996", "turn 9997", "turn 9998", "turn 9999"]
