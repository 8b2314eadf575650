"""Rated requests of simulated users, who ask queries of kinds that a router knows or does not."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from router import Cascade, Decision
from router.examples import Example
from router.logged import Logged
from router.policy import explored

METRIC = "thumb"
LEFT_OUT = (
    "PrivacyQA",
    "FailureSensorIQ",
    "TAT-QA",
    "MedQuAD",
    "LLMRouter/commonsense_qa",
    "h2o-evals/Telcom_Telecommunications_regulation_strategy_policy",
)
PRAISED_RIGHT, PRAISED_WRONG = 0.8, 0.3
EXPLORATION, NEW_SHARE = 0.1, 0.4
REQUESTS_OF_USER = 20
# Of known kinds, asked in the log and in the later one; the fit knows none of them.
KNOWN, KNOWN_LATER = 1_500, 500


@dataclass(frozen=True, slots=True)
class Parts:
    """Queries to fit on; of `new` sources and `known` ones those of the log, and of later ones."""

    fit: list[Example]
    new: list[Example]
    known: list[Example]
    new_later: list[Example]
    known_later: list[Example]


def parts_of(train: Sequence[Example]) -> Parts:
    draw = random.Random(7)
    new = [example for example in train if example.source in LEFT_OUT]
    known = [example for example in train if example.source not in LEFT_OUT]
    draw.shuffle(new)
    draw.shuffle(known)
    asked = KNOWN + KNOWN_LATER
    return Parts(known[asked:], new[1::2], known[:KNOWN], new[::2], known[KNOWN:asked])


def log_of(
    router: Cascade,
    new: Sequence[Example],
    known: Sequence[Example],
    count: int,
    *,
    seed: int = 0,
    poison: float = 0.0,
) -> list[Logged]:
    """`count` rated requests, decided by `router` and explored as the gateway does it; a share of
    `poison` is of one user who praises exactly what is wrong."""
    draw = random.Random(seed)
    users = count // REQUESTS_OF_USER
    log = []
    for place in range(count):
        example = draw.choice(new if draw.random() < NEW_SHARE else known)
        decision = explored(
            router.decide(example.text), router.first.labels, EXPLORATION, draw.random()
        )
        right = decision.target == example.label
        poisoned = draw.random() < poison
        praised = draw.random() < (PRAISED_RIGHT if right else PRAISED_WRONG)
        rewards = {METRIC: float(not right if poisoned else praised)}
        user = f"user {draw.randrange(users)}"
        log.append(_logged(example.text, decision, rewards, "mallory" if poisoned else user, place))
    return log


def _logged(
    text: str, decision: Decision, rewards: Mapping[str, float], unit: str, place: int
) -> Logged:
    return Logged(
        turns=(text,),
        target=decision.target,
        propensity=decision.propensity,
        probability=decision.probability,
        reason=decision.reason,
        router_version=decision.router_version,
        created=60.0 * place,
        unit=unit,
        session=None,
        ok=True,
        rewards=rewards,
        demonstrated=False,
        cost=None,
        total_ms=1.0,
        train=True,
    )
