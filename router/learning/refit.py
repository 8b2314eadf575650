"""A router that has learned from the log, and whether it may be tried: it must hold its own on
labelled queries, and on the part of the log that it has not seen. Makes nothing current."""

import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from router.errors import FitError
from router.examples import Example
from router.fitting.artefact import write
from router.fitting.fit import FittedRouter
from router.learning.evidence import Learned, folded, learned
from router.learning.report import OffPolicyReport, Verdict, off_policy_report
from router.learning.rewards import Progress, rated, replay
from router.logged import Logged
from router.second.stage import Cascade

# The latest of the log are kept for judging; of labelled queries every HELD_BACK-th.
LATEST = 0.3
HELD_BACK = 5
MOST_LOSS = 0.005

Fit = Callable[[Sequence[Example]], FittedRouter]


@dataclass(frozen=True, slots=True)
class LabelledCheck:
    """Accuracy on `n` labelled queries that neither router was fitted on, with the interval of the
    difference at 95 %, by pairs."""

    n: int
    before: float
    after: float
    low: float
    high: float

    @property
    def holds(self) -> bool:
        return self.after >= self.before - MOST_LOSS


@dataclass(frozen=True, slots=True)
class LearnReport:
    """What was learned, both comparisons, and whether the router may be tried."""

    learned: Learned
    labelled: LabelledCheck
    off_policy: OffPolicyReport
    accepted: bool
    why: str

    def as_json(self) -> dict[str, Any]:
        return {
            "counts": asdict(self.learned.counts),
            "praise": asdict(self.learned.praise),
            "labelled": asdict(self.labelled),
            "off_policy": self.off_policy.as_json(),
            "accepted": self.accepted,
            "why": self.why,
        }


def learn(
    log: Sequence[Logged],
    metric: str,
    examples: Sequence[Example],
    serving: Cascade,
    fit: Fit,
    *,
    evaluation: Sequence[Example] | None = None,
    min_gain: float | None = None,
    on_progress: Progress = lambda done, total: None,
) -> tuple[LearnReport, FittedRouter | None]:
    """Fit on `examples` and the earlier part of `log` (oldest first); the router only if accepted.

    Without labelled queries for `evaluation` some examples are held back, from the new router and
    from one that is fitted for comparison; what is returned then has seen them all. With a
    `min_gain` the log has to show it.
    """
    cut = int(len(log) * (1 - LATEST))
    taught = learned(log[:cut], metric, serving, [*examples, *(evaluation or ())], on_progress)
    if not taught.examples:
        raise FitError(_nothing(taught, metric))
    used, held = (examples, evaluation) if evaluation else _held_back(examples)
    with tempfile.TemporaryDirectory() as folder:
        before = serving if evaluation else _loaded(fit(used), Path(folder) / "before")
        fitted = fit([*used, *taught.examples])
        after = _loaded(fitted, Path(folder) / "after")
        labelled = _labelled_check(held, before, after)
        seen = {folded(example.text) for example in taught.examples}
        later = [one for one in rated(log[cut:], metric) if folded(one.text) not in seen]
        off_policy = off_policy_report(replay(later, metric, serving, after, on_progress))
    accepted, why = _judged(labelled, off_policy, min_gain)
    report = LearnReport(taught, labelled, off_policy, accepted, why)
    if not accepted:
        return report, None
    return report, fitted if evaluation else fit([*examples, *taught.examples])


def _loaded(fitted: FittedRouter, folder: Path) -> Cascade:
    return Cascade.load(write(fitted, folder))


def _held_back(examples: Sequence[Example]) -> tuple[list[Example], list[Example]]:
    """Every HELD_BACK-th query of each label, in the order of their text, which is any order."""
    places: dict[str, int] = defaultdict(int)
    used: list[Example] = []
    held: list[Example] = []
    for example in sorted(set(examples), key=lambda e: e.text):
        places[example.label] += 1
        (used if places[example.label] % HELD_BACK else held).append(example)
    if not held:
        raise FitError(f"no label has {HELD_BACK} examples to hold one back; give --eval FILE")
    return used, held


def _labelled_check(held: Sequence[Example], before: Cascade, after: Cascade) -> LabelledCheck:
    right = np.array(
        [[r.decide(e.text).target == e.label for r in (before, after)] for e in held], dtype=float
    )
    gains = right[:, 1] - right[:, 0]
    reach = 1.96 * float(gains.std()) / len(gains) ** 0.5
    gain = float(gains.mean())
    old, new = (float(mean) for mean in right.mean(axis=0))
    return LabelledCheck(len(held), old, new, gain - reach, gain + reach)


def _judged(
    labelled: LabelledCheck, off_policy: OffPolicyReport, min_gain: float | None
) -> tuple[bool, str]:
    if not labelled.holds:
        return False, (
            f"on labelled queries it loses more than {MOST_LOSS:.1%}: "
            f"{labelled.before:.4f} before, {labelled.after:.4f} after"
        )
    if off_policy.verdict is Verdict.WORSE:
        return False, off_policy.why
    if min_gain is not None:
        gain = off_policy.gain
        if gain is None or off_policy.verdict is Verdict.NO_SUPPORT:
            return False, f"a gain of {min_gain:g} is not shown: {off_policy.why}"
        if not gain.value >= min_gain:
            return False, f"a gain of {min_gain:g} is wanted, the log shows {gain.value:+.4f}"
    return True, f"it holds its own on labelled queries; {off_policy.why}"


def _nothing(taught: Learned, metric: str) -> str:
    if not taught.counts.told:
        return f"the log has no request to learn from that was rated by {metric!r}; see --metric"
    return (
        f"none of {taught.counts.told} rated requests says surely enough where it belongs, beyond "
        f"the {taught.counts.known} that the examples have; wait for more feedback"
    )
