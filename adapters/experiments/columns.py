"""Answers as columns: what one pass over the log gathers of each, before units are counted."""

from array import array
from collections.abc import Sequence
from math import nan

import numpy as np
from msgspec import Struct

from adapters.checks import Check
from adapters.experiments.measures import CHECK, SIGNALS, Kind, Measure
from adapters.experiments.observations import Array, Places
from adapters.experiments.signals import (
    BY_NEXT,
    OF_ASSIGNED,
    OF_EXPOSED,
    Answer,
    Asked,
    Said,
    asked,
    checked,
)
from adapters.interactions import Outcome

FEEDBACK = "feedback:"
PREFERENCE = "preference"
OTHER = "(other)"
_METADATA = "metadata."
_MOST_SLICES = 1000
_PRAISE = frozenset({"up", "thumbs_up", "positive", "good", "true", "yes"})
_BLAME = frozenset({"down", "thumbs_down", "negative", "bad", "false", "no"})


class Judgement(Struct):
    """What is read of feedback's record."""

    metric: str
    created: float
    value: bool | float | str | None = None
    preferred_over: str | None = None


def feedback_metric(name: str) -> str | None:
    """The metric that feedback has to have for a measure or a slice; None for signals, checks."""
    if name.startswith(FEEDBACK):
        return name.removeprefix(FEEDBACK)
    return None if name in SIGNALS or name.startswith(CHECK) else name


class Columns:
    """Grows by `add`; `arms` and `units` are the numbers that the caller gives them."""

    def __init__(
        self,
        measures: Sequence[Measure],
        slices: Sequence[str] = (),
        checks: Sequence[Check] = (),
    ) -> None:
        self.arms = array("q")
        self.units = array("q")
        self.created = array("d")
        self.propensities = array("d")
        self.exposed = bytearray()
        self._values = {measure.name: array("d") for measure in measures}
        self._slices = {name: array("q") for name in slices}
        self._codes: dict[str, dict[str, int]] = {name: {} for name in slices}
        of_checks = {f"{CHECK}{check.name}": checked(check) for check in checks}
        self._signals = [
            (self._values[name], read, name not in OF_ASSIGNED)
            for name, read in {**OF_EXPOSED, **OF_ASSIGNED, **of_checks}.items()
            if name in self._values
        ]
        self._by_next = [
            (self._values[n], told) for n, told in BY_NEXT.items() if n in self._values
        ]
        self._judged = [
            (self._values[measure.name], metric, measure.kind)
            for measure in measures
            if (metric := feedback_metric(measure.name)) is not None
        ]
        self._last: dict[int, Asked] = {}
        self._ids: dict[str, int] | None = {} if PREFERENCE in self._values else None
        self._preferred: list[tuple[int, str]] = []

    def __len__(self) -> int:
        return len(self.arms)

    def add(
        self, arm: int, unit: int, answer: Answer, judgements: Sequence[Judgement], exposed: bool
    ) -> None:
        """Take up an answer, later than every one before, and the newest feedback of each metric
        on it."""
        position = len(self.arms)
        self.arms.append(arm)
        self.units.append(unit)
        self.created.append(answer.created)
        self.propensities.append(answer.arm_propensity)
        self.exposed.append(exposed)
        for values, read, of_exposed in self._signals:
            values.append(read(answer) if exposed or not of_exposed else nan)
        if self._by_next and isinstance(answer, Said):
            self._follow(position, unit, answer, exposed)
        said = {judgement.metric: judgement for judgement in judgements}
        for values, metric, kind in self._judged:
            judgement = said.get(metric) if exposed else None
            values.append(nan if judgement is None else number(judgement.value, kind))
        for name, codes in self._slices.items():
            codes.append(self._code(name, _slice_value(name, answer, said)))
        if self._ids is not None:
            self._ids[answer.id] = position
            self._values[PREFERENCE].append(nan)
            self._preferred += [
                (position, judgement.preferred_over)
                for judgement in judgements
                if judgement.preferred_over
            ]

    def values(self, name: str) -> Array:
        """A measure's value of each answer, NaN where there is none."""
        values = np.array(self._values[name])
        if name == PREFERENCE:
            self._settle_preferences(values)
        return values

    def slice_values(self, name: str, most: int) -> list[tuple[str, Places]]:
        """A slice's most frequent values, each with the places of its answers."""
        codes = np.array(self._slices[name])
        counts = np.bincount(codes + 1, minlength=len(self._codes[name]) + 1)[1:]
        often = np.argsort(-counts, kind="stable")[:most]
        names = list(self._codes[name])
        return [(names[code], np.flatnonzero(codes == code)) for code in often]

    def _follow(self, position: int, unit: int, answer: Said, exposed: bool) -> None:
        now, before = asked(answer, position), self._last.get(unit)
        answered = exposed and answer.outcome is Outcome.OK
        for values, told in self._by_next:
            values.append(0.0 if answered else nan)
            if before is not None and values[before.position] == 0.0 and told(before, now):
                values[before.position] = 1.0
        self._last[unit] = now

    def _code(self, name: str, value: str | None) -> int:
        codes = self._codes[name]
        if value is None:
            return -1
        if value not in codes and len(codes) >= _MOST_SLICES:
            value = OTHER
        return codes.setdefault(value, len(codes))

    def _settle_preferences(self, values: Array) -> None:
        """1 for an answer that was preferred over another arm's, 0 for that one."""
        for winner, receipt in self._preferred:
            loser = (self._ids or {}).get(receipt)
            if loser is None or self.arms[winner] == self.arms[loser]:
                continue
            if self.exposed[winner] and self.exposed[loser]:
                values[winner], values[loser] = 1.0, 0.0


def number(value: bool | float | str | None, kind: Kind) -> float:
    """A judgement as a number; NaN if it is none, or for a proportion outside 0 to 1."""
    if isinstance(value, str):
        word = value.strip().lower()
        return 1.0 if word in _PRAISE else 0.0 if word in _BLAME else nan
    if value is None or (kind is Kind.PROPORTION and not 0 <= value <= 1):
        return nan
    return float(value)


def _slice_value(name: str, answer: Answer, said: dict[str, Judgement]) -> str | None:
    if name.startswith(FEEDBACK):
        judgement = said.get(name.removeprefix(FEEDBACK))
        value: object = None if judgement is None else judgement.value
    elif name.startswith(_METADATA):
        metadata = answer.request.metadata if isinstance(answer, Said) else None
        value = metadata.get(name.removeprefix(_METADATA)) if isinstance(metadata, dict) else None
    else:
        value = getattr(answer, name)
    return None if value is None or value == "" else str(value)[:64]
