"""From rated requests to examples: where each query belongs, as far as its ratings tell.

A good rating is no label: wrong targets are praised too, and explored ones are mostly wrong. What a
rating says is weighed against what the router thought, by Bayes' rule.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from router.decision import Decision, Reason
from router.examples import Example
from router.logged import Logged
from router.quality.evaluate import Decider

SOURCE = "log"
GOOD = 0.5  # from here on a rating is praise
# An example is what is this likely; a unit gives at most this share of them, and UNIT_FLOOR always.
SURE = 0.9
UNIT_SHARE = 0.02
UNIT_FLOOR = 5
# Praise of right and of wrong targets before any is counted, and what that counts in ratings.
USUAL = (0.7, 0.4)
USUAL_COUNT = 20.0
ROUNDS = 50

Progress = Callable[[int, int], None]
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Praise:
    """How often an answer is praised if its target was right, and if it was wrong."""

    right: float
    wrong: float

    def likelihood(self, good: bool, right: bool) -> float:
        chance = self.right if right else self.wrong
        return chance if good else 1 - chance


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of the requests with a word on them: `capped` came from units that had said
    enough, `repeated` were about a query that another request asked too, `known` about one that the
    examples have (of which `contradicted` have it elsewhere), `unsure` remained queries."""

    told: int
    capped: int
    repeated: int
    known: int
    contradicted: int
    unsure: int
    learned: int


@dataclass(frozen=True, slots=True)
class Learned:
    """Examples from the log, and how they came about."""

    examples: list[Example]
    counts: Counts
    praise: Praise


def learned(
    log: Iterable[Logged],
    metric: str,
    router: Decider,
    known: Sequence[Example],
    on_progress: Progress = lambda done, total: None,
) -> Learned:
    """Examples that `known` has not yet; `router` says what was likely before the ratings.

    None without praise of its label: what a router is sure of is no news to it.
    """
    told = [one for one in log if _tells(one, metric)]
    within = _capped(told)
    by_text: dict[str, list[Logged]] = defaultdict(list)
    for one in within:
        by_text[folded(one.text)].append(one)
    labels = {folded(example.text): example.label for example in known}
    fresh = {text: said for text, said in by_text.items() if text not in labels}
    decisions: dict[str, Decision] = {}
    for count, (text, said) in enumerate(fresh.items(), 1):
        decisions[text] = router.decide(said[0].text)
        on_progress(count, len(fresh))
    praise = _praise(fresh, decisions, metric)
    examples = [
        Example(said[0].text, label, source=SOURCE)
        for text, said in fresh.items()
        if (label := _label(decisions[text].probabilities, said, metric, praise)) is not None
    ]
    counts = Counts(
        told=len(told),
        capped=len(told) - len(within),
        repeated=len(within) - len(by_text),
        known=len(by_text) - len(fresh),
        contradicted=_contradicted(by_text, labels, metric),
        unsure=len(fresh) - len(examples),
        learned=len(examples),
    )
    return Learned(examples, counts, praise)


def _tells(one: Logged, metric: str) -> bool:
    """Whether something was said of an answer, or beforehand by naming the domain."""
    said = metric in one.rewards or one.demonstrated or one.reason == Reason.EXPLICIT_DOMAIN
    return said and one.train and one.ok and bool(one.text.strip())


def _good(one: Logged, metric: str) -> bool:
    """A rating counts more than an answer that was written for the target, or its choice."""
    return one.rewards.get(metric, 1.0) >= GOOD


def _capped(told: Sequence[Logged]) -> list[Logged]:
    """The first words of each unit, and of a unit on one query only the last one."""
    most = max(UNIT_FLOOR, int(UNIT_SHARE * len(told)))
    last = {(one.unit, folded(one.text)): one for one in told}
    used: dict[str, int] = defaultdict(int)
    kept = []
    for one in last.values():
        used[one.unit] += 1
        if used[one.unit] <= most:
            kept.append(one)
    return kept


def _contradicted(
    by_text: Mapping[str, Sequence[Logged]], labels: Mapping[str, str], metric: str
) -> int:
    return sum(
        any(_good(one, metric) and one.target != labels[text] for one in said)
        for text, said in by_text.items()
        if text in labels
    )


def _praise(
    by_text: Mapping[str, Sequence[Logged]], decisions: Mapping[str, Decision], metric: str
) -> Praise:
    """By expectation and maximisation over what is not known, whether the target was right; where
    right targets are praised no more than wrong ones, ratings say nothing."""
    rows = [
        (decisions[text].probabilities.get(one.target, 0.0), _good(one, metric))
        for text, said in by_text.items()
        for one in said
    ]
    if not rows:
        return Praise(*USUAL)
    prior = np.array([probability for probability, _ in rows])
    good = np.array([rating for _, rating in rows])
    right, wrong = USUAL
    for _ in range(ROUNDS):
        if_right = prior * np.where(good, right, 1 - right)
        if_wrong = (1 - prior) * np.where(good, wrong, 1 - wrong)
        share = if_right / (if_right + if_wrong)
        right = _rate(share, good, USUAL[0])
        wrong = _rate(1 - share, good, USUAL[1])
    return Praise(right, min(right, wrong))


def _rate(shares: Floats, good: Flags, usual: float) -> float:
    return float((shares[good].sum() + usual * USUAL_COUNT) / (shares.sum() + USUAL_COUNT))


def _label(
    before: Mapping[str, float], said: Sequence[Logged], metric: str, praise: Praise
) -> str | None:
    """Where a query belongs after all its ratings; None where that is not sure, or nobody praised
    it there."""
    logs = {label: math.log(max(chance, 1e-12)) for label, chance in before.items()}
    for one in said:
        good = _good(one, metric)
        for label in logs:
            logs[label] += math.log(praise.likelihood(good, label == one.target))
    best = max(logs, key=logs.__getitem__, default="")
    if not any(one.target == best and _good(one, metric) for one in said):
        return None
    others = sum(math.exp(value - logs[best]) for value in logs.values())
    return best if 1 / others >= SURE else None


def folded(text: str) -> str:
    return " ".join(text.casefold().split())
