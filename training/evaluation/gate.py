"""Whether a candidate may serve: compared with every rival, task by task, on held-out rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from training.evaluation.evaluate import Evaluation

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


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict and the sentence that explains it."""

    verdict: Verdict
    reason: str


def judge(candidate: Evaluation, rivals: Sequence[Evaluation], *, leaked: int = 0) -> Judgement:
    """PASS when, against every rival, some task is surely better and none is surely worse.

    Surely means that the 95 % interval of the paired difference lies on one side of 0. `leaked`
    counts held-out rows that training has seen; any makes the evaluation invalid.
    """
    for evaluation in (candidate, *rivals):
        if evaluation.errored > MOST_ERRORED * evaluation.n:
            return Judgement(
                Verdict.INVALID,
                f"{evaluation.model} left {evaluation.errored} of {evaluation.n} rows unanswered",
            )
    if leaked:
        return Judgement(Verdict.INVALID, f"{leaked} held-out rows were trained on")
    most = max(len(task.values) for task in candidate.tasks.values())
    if most < FEWEST_PRIMARY_ROWS:
        return Judgement(
            Verdict.INVALID,
            f"no task has {FEWEST_PRIMARY_ROWS} held-out rows; the largest has {most}",
        )
    judgements = [_compare(candidate, rival) for rival in rivals]
    for verdict in (Verdict.FAIL, Verdict.INCONCLUSIVE):
        for judgement in judgements:
            if judgement.verdict is verdict:
                return judgement
    return Judgement(Verdict.PASS, "; ".join(judgement.reason for judgement in judgements))


def _compare(candidate: Evaluation, rival: Evaluation) -> Judgement:
    better, worse = [], []
    for name, task in candidate.tasks.items():
        difference = candidate.against(rival, name)
        low, high = difference.ci95
        shown = f"{name} {difference.score:.3f} → {task.score:.3f} [{low:+.3f}, {high:+.3f}]"
        if high < 0:
            worse.append(shown)
        elif low > 0 and len(task.values) >= FEWEST_PRIMARY_ROWS:
            better.append(shown)
    if worse:
        return Judgement(Verdict.FAIL, f"worse than {rival.model} on " + ", ".join(worse))
    if better:
        return Judgement(Verdict.PASS, f"better than {rival.model} on " + ", ".join(better))
    return Judgement(Verdict.INCONCLUSIVE, f"no task is surely better than with {rival.model}")
