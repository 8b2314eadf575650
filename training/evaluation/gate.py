"""Whether a candidate may serve: compared with every rival on every task, and with the base model
on every protected capability. Nothing is ever pooled.

Takes evaluations on the same rows; knows nothing of models, files or registries.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from adapters.experiments.statistics.multiple import holm
from training.evaluation.evaluate import Evaluation
from training.evaluation.significance import p_value

# A task with fewer rows can show harm but not, by itself, that a candidate is better.
FEWEST_PRIMARY_ROWS = 20
# Above this share of rows without an answer, an evaluation judges the machine, not the model.
MOST_ERRORED = 0.01


class Verdict(StrEnum):
    """What the gate says; only PASS may be served."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    INVALID = "invalid"


class Retention(StrEnum):
    """What became of a capability: UNSURE rows are too few to tell, and a base model that cannot do
    it either leaves nothing to be protected."""

    KEPT = "kept"
    LOST = "lost"
    UNSURE = "unsure"
    UNPROTECTED = "unprotected"


@dataclass(frozen=True, slots=True)
class Criteria:
    """How sure the gate has to be.

    Args:
        alpha: of all candidates no better than a rival, the most that may be called better; also of
            a task's, that are no worse, the most that may be called worse.
        margin: the loss of a capability that is put up with, in points of its score.
        demand_retention: whether a capability that is not surely kept holds a candidate up.
    """

    alpha: float = 0.025
    margin: float = 0.05
    demand_retention: bool = False


@dataclass(frozen=True, slots=True)
class Comparison:
    """A candidate and a rival on one task, or on a capability: `p_better` is corrected for the
    number of tasks, `p_worse` is not, and `ci95` is the difference's."""

    rival: str
    task: str
    metric: str
    n: int
    score: float
    rival_score: float
    ci95: tuple[float, float]
    p_better: float
    p_worse: float

    def __str__(self) -> str:
        low, high = self.ci95
        scores = f"{self.rival_score:.3f} → {self.score:.3f}"
        return f"{self.task} {scores} [{low:+.3f}, {high:+.3f}]"


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict, the sentence that explains it, and the figures behind it."""

    verdict: Verdict
    reason: str
    comparisons: tuple[Comparison, ...] = ()
    capabilities: tuple[tuple[Comparison, Retention], ...] = ()


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the gate judges by.

    Args:
        protected: the candidate and the base model on what is not to be forgotten.
        leaks: by the name of a set of rows, how many of them training has seen.
    """

    candidate: Evaluation
    rivals: tuple[Evaluation, ...]
    protected: tuple[Evaluation, Evaluation] | None = None
    leaks: Mapping[str, int] = field(default_factory=dict)


def judge(evidence: Evidence, criteria: Criteria = Criteria()) -> Judgement:
    """PASS when, against every rival, some task is surely better and none is surely worse, and no
    protected capability is surely lost.

    Better takes Holm's correction over the tasks, as each gives chance an occasion. Over the rivals
    nothing is to be corrected: all of them have to be beaten (Berger 1982). Worse is not corrected
    either: more tasks would hide more harm, and the price of a false alarm is another run, not
    worse answers.
    """
    if broken := _broken(evidence):
        return Judgement(Verdict.INVALID, broken)
    compared = [compare(evidence.candidate, rival) for rival in evidence.rivals]
    capabilities = _retained(evidence.protected, criteria) if evidence.protected else ()
    verdict, reason = _decide(compared, capabilities, criteria)
    return Judgement(verdict, reason, tuple(one for some in compared for one in some), capabilities)


def compare(candidate: Evaluation, rival: Evaluation) -> tuple[Comparison, ...]:
    """Task by task, on the same rows."""
    gains = {
        name: [mine - its for mine, its in zip(task.values, rival.tasks[name].values, strict=True)]
        for name, task in candidate.tasks.items()
    }
    better = {
        name: p_value(gain) for name, gain in gains.items() if len(gain) >= FEWEST_PRIMARY_ROWS
    }
    corrected = dict(zip(better, holm(list(better.values())).tolist(), strict=True))
    return tuple(
        Comparison(
            rival=rival.model,
            task=name,
            metric=str(candidate.tasks[name].metric),
            n=len(gain),
            score=candidate.tasks[name].score,
            rival_score=rival.tasks[name].score,
            ci95=candidate.against(rival, name).ci95,
            p_better=corrected.get(name, 1.0),
            p_worse=p_value([-value for value in gain]),
        )
        for name, gain in gains.items()
    )


def _decide(
    compared: Sequence[Sequence[Comparison]],
    capabilities: Sequence[tuple[Comparison, Retention]],
    criteria: Criteria,
) -> tuple[Verdict, str]:
    harm, doubt, gain = [], [], []
    for comparisons in compared:
        rival = comparisons[0].rival
        worse = [one for one in comparisons if one.p_worse <= criteria.alpha]
        better = [one for one in comparisons if one.p_better <= criteria.alpha]
        if worse:
            harm.append(f"worse than {rival} on {_listed(worse)}")
        if better:
            gain.append(f"better than {rival} on {_listed(better)}")
        else:
            doubt.append(f"no task is surely better than with {rival}")
    of = {kind: [one for one, found in capabilities if found is kind] for kind in Retention}
    if lost := of[Retention.LOST]:
        harm.append(f"forgets, by more than {criteria.margin:.3f}, {_listed(lost)}")
    if criteria.demand_retention and (unsure := of[Retention.UNSURE]):
        doubt.append(f"may forget, by more than {criteria.margin:.3f}, {_listed(unsure)}")
    for verdict, reasons in ((Verdict.FAIL, harm), (Verdict.INCONCLUSIVE, doubt)):
        if reasons:
            return verdict, "; ".join(reasons)
    if idle := of[Retention.UNPROTECTED]:
        names = ", ".join(one.task for one in idle)
        gain.append(f"nothing to be forgotten of {names}, where the base model scores 0")
    return Verdict.PASS, "; ".join(gain)


def _retained(
    protected: tuple[Evaluation, Evaluation], criteria: Criteria
) -> tuple[tuple[Comparison, Retention], ...]:
    """What is left of each capability, told by the interval of the difference and the margin."""
    found = []
    for one in compare(*protected):
        low, high = one.ci95
        if one.rival_score == 0:
            kind = Retention.UNPROTECTED
        elif high < -criteria.margin:
            kind = Retention.LOST
        else:
            kind = Retention.KEPT if low > -criteria.margin else Retention.UNSURE
        found.append((one, kind))
    return tuple(found)


def _broken(evidence: Evidence) -> str | None:
    """Why the evaluation says nothing, if it does not."""
    for name, seen in evidence.leaks.items():
        if seen:
            return f"{seen} rows of {name} were trained on"
    if not evidence.rivals:
        return f"{evidence.candidate.model} was compared with nothing"
    pairs = [(evidence.candidate, rival) for rival in evidence.rivals]
    for mine, other in [*pairs, evidence.protected] if evidence.protected else pairs:
        if problem := _unanswered(mine) or _unanswered(other) or _mismatch(mine, other):
            return problem
    most = max(len(task.values) for task in evidence.candidate.tasks.values())
    if most < FEWEST_PRIMARY_ROWS:
        return f"no task has {FEWEST_PRIMARY_ROWS} held-out rows; the largest has {most}"
    return None


def _unanswered(evaluation: Evaluation) -> str | None:
    if evaluation.n == 0:
        return f"{evaluation.model} was asked nothing"
    if evaluation.errored > MOST_ERRORED * evaluation.n:
        return f"{evaluation.model} left {evaluation.errored} of {evaluation.n} rows unanswered"
    return None


def _mismatch(mine: Evaluation, other: Evaluation) -> str | None:
    """Whether two evaluations cannot be compared row by row, and why."""
    if odd := sorted(mine.tasks.keys() ^ other.tasks.keys()):
        return f"only one of {mine.model} and {other.model} was asked {', '.join(odd)}"
    for name, task in mine.tasks.items():
        rival = other.tasks[name]
        same_rows = task.rows == rival.rows and len(task.values) == len(rival.values)
        if task.metric is not rival.metric or not same_rows:
            return f"{mine.model} and {other.model} were not asked the same rows of {name}"
        if not all(map(math.isfinite, (*task.values, *rival.values))):
            return f"a score of {name} is not a number"
    return None


def _listed(comparisons: Sequence[Comparison]) -> str:
    return ", ".join(map(str, comparisons))
