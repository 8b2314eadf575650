"""Shadow arms beside what was seen: both answered the same, so they are compared pair by pair.

A unit counts once, with the mean difference of its pairs. All intervals of one call hold together
and at all looks. What was seen has always ended well, so an error is always the shadow's.
"""

import unicodedata
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from math import isfinite, nan

import numpy as np

from adapters import tables
from adapters.checks import Check
from adapters.experiments.columns import Columns, Judgement
from adapters.experiments.design import Experiment
from adapters.experiments.entry import Entry
from adapters.experiments.looks import ALPHA, LOOKS, look_along
from adapters.experiments.measures import CHECK, DEFAULT_GUARDRAILS, JUDGE, Direction, Kind, Measure
from adapters.experiments.metrics import Look as Log
from adapters.experiments.observations import Array, Places
from adapters.experiments.signals import Answer, Said
from adapters.experiments.statistics.moments import Estimand, Moments, difference
from adapters.experiments.statistics.multiple import together
from adapters.experiments.statistics.sequential import SequentialTest
from adapters.store import Store

AGREEMENT = "agreement"  # 1 where both said the same, but for case, spaces and Unicode's forms
_SIGNALS = ("error", "refusal", "total_ms", "completion_tokens")
_EFFECT = 0.05  # planned for where no guardrail says how much matters


@dataclass(frozen=True, slots=True)
class ShadowReading:
    """One metric of a shadow arm against the answers that were seen: means over units, and their
    difference with an interval, which is None while it cannot be told."""

    arm: str
    metric: str
    seen: float
    shadow: float
    difference: float
    low: float | None
    high: float | None
    pairs: int
    units: int
    words: str


def compare(
    store: Store, entry: Entry, *, checks: Sequence[Check] = ()
) -> tuple[ShadowReading, ...]:
    """Every shadow arm by every metric that can be read off two answers; without those that no pair
    has yet. `checks` are those of the domain's pack.

    Raises InvalidExperiment where the design names a check that is not among them.
    """
    experiment = entry.experiment
    if not experiment.shadows:
        return ()
    pairs = _Pairs(store, experiment, checks)
    test = together(SequentialTest(ALPHA), len(experiment.shadows) * len(pairs.metrics))
    readings = (
        pairs.reading(arm.name, metric, test)
        for arm in experiment.shadows
        for metric in pairs.metrics
    )
    return tuple(reading for reading in readings if reading is not None)


def look_at(differences: Array, effect: float, test: SequentialTest) -> tuple[float, float]:
    """The interval of the mean of paired differences, one for each unit in the order they came, by
    a test planned for `effect`; infinite while it cannot be told."""
    count = min(LOOKS, len(differences))
    parts = np.arange(len(differences)) * count // len(differences)
    # Against as many zeros: the library's floor under a small sample's variance then holds as well.
    course = difference(
        Moments.running(parts, count, np.zeros(len(differences))),
        Moments.running(parts, count, differences),
        Estimand.MEAN,
    )
    look = look_along(test, course, effect)
    return float(look.low[-1]), float(look.high[-1])


class _Pairs:
    """An experiment's pairs, in the order in which the shadows answered."""

    def __init__(self, store: Store, experiment: Experiment, checks: Sequence[Check]) -> None:
        judges = [f"{JUDGE}{judge.name}" for judge in experiment.judges]
        names = [*_SIGNALS, *judges, *(f"{CHECK}{check.name}" for check in checks)]
        measures = [Measure(name, Kind.PROPORTION, Direction.HIGHER) for name in names]
        self.metrics = (AGREEMENT, *names)
        self._experiment = experiment
        self._arms = [arm.name for arm in experiment.arms]
        self._columns = Columns(measures, checks=checks)
        self._texts = array("Q")  # digests, 0 where there is none
        self._units: dict[str, int] = {}
        self._pairs = self._read(store, Log(experiment, checks), measures)

    def reading(self, arm: str, metric: str, test: SequentialTest) -> ShadowReading | None:
        """None without a pair that has a value on both sides."""
        columns, shadows = self._columns, self._pairs[:, 0]
        both = self._values(metric)
        units = np.array(columns.units)[shadows]
        there = np.array(columns.arms)[shadows] == self._arms.index(arm)
        there &= ~np.isnan(both).any(axis=1)
        if not there.any():
            return None
        shadow, seen = _by_unit(units[there], both[there]).T
        interval = look_at(shadow - seen, self._planned(metric, float(seen.mean())), test)
        return _told(arm, metric, (seen, shadow), interval, int(there.sum()))

    def _values(self, metric: str) -> Array:
        """The shadow's and the seen answer's value of each pair, NaN where there is none."""
        if metric != AGREEMENT:
            return self._columns.values(metric)[self._pairs]
        texts = np.array(self._texts)[self._pairs]
        same = np.where(texts.all(axis=1), texts[:, 0] == texts[:, 1], nan)
        return np.column_stack([same, np.ones(len(same))])

    def _planned(self, metric: str, seen: float) -> float:
        """The difference that matters."""
        for guardrail in (*self._experiment.guardrails, *DEFAULT_GUARDRAILS):
            if guardrail.name == metric:
                scale = abs(seen) if guardrail.relative else 1.0
                return max(guardrail.margin * scale, 1e-12)
        return _EFFECT

    def _read(self, store: Store, log: Log, measures: Sequence[Measure]) -> Places:
        """The places of each pair's shadow and seen answer among the columns."""
        stored, experiment = tables.interactions.c, self._experiment
        ours, control = stored.experiment == experiment.name, experiment.control.name
        shadows: list[tuple[int, str]] = []
        seen: dict[str, int] = {}
        with store.transaction() as connection:
            names = [arm.name for arm in experiment.shadows]
            where = [ours, stored.arm.in_(names)]
            for answer, judgements in log.answers(connection, where, measures):
                if answer.shadow_of is not None:
                    shadows.append((self._add(answer, judgements), answer.shadow_of))
            wanted = {receipt for _, receipt in shadows}
            where = [ours, stored.arm == control]
            for answer, judgements in log.answers(connection, where, measures):
                if answer.id in wanted:
                    seen[answer.id] = self._add(answer, judgements)
        found = [(place, seen[receipt]) for place, receipt in shadows if receipt in seen]
        return np.array(found, dtype=np.int64).reshape(-1, 2)

    def _add(self, answer: Answer, judgements: Sequence[Judgement]) -> int:
        arm = self._arms.index(answer.arm or "")
        unit = self._units.setdefault(answer.experiment_unit or "", len(self._units))
        self._columns.add(arm, unit, answer, judgements, answer.exposed)
        self._texts.append(_digest(answer.text if isinstance(answer, Said) else None))
        return len(self._columns) - 1


def _by_unit(units: Places, values: Array) -> Array:
    """The mean of each unit's rows; units are numbered in the order in which they came."""
    names, place = np.unique(units, return_inverse=True)
    sums = np.zeros((len(names), values.shape[1]))
    np.add.at(sums, place, values)
    return np.asarray(sums / np.bincount(place)[:, None])


def _digest(text: str | None) -> int:
    """The text by which answers agree, as a number; 0 for none."""
    if text is None:
        return 0
    same = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    return int.from_bytes(blake2b(same.encode(), digest_size=8).digest()) or 1


def _told(
    arm: str,
    metric: str,
    sides: tuple[Array, Array],
    interval: tuple[float, float],
    pairs: int,
) -> ShadowReading:
    seen, shadow = (float(side.mean()) for side in sides)
    low, high = interval
    known = isfinite(low) and isfinite(high)
    head = "higher" if low > 0 else "lower" if high < 0 else "not told apart"
    between = f" [{low:+.4g}, {high:+.4g}]" if known else ""
    units = len(sides[0])
    return ShadowReading(
        arm=arm,
        metric=metric,
        seen=seen,
        shadow=shadow,
        difference=shadow - seen,
        low=low if known else None,
        high=high if known else None,
        pairs=pairs,
        units=units,
        words=f"{arm} beside what was seen, {metric} {head}: {shadow:.4g} against {seen:.4g}, "
        f"{shadow - seen:+.4g}{between}, {pairs} pairs of {units} units",
    )
