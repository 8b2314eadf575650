"""Who takes part in an experiment and which arm a unit sees: a pure function of the unit and of
what the store says, the same on every gateway and after a restart.

Weighted rendezvous hashing (Thaler & Ravishankar 1998; weights after Schindelhauer & Schomaker
2005): every arm draws -ln(u)/w with u uniform from the hash of (salt, unit, arm), the smallest
wins. An arm wins with probability w / sum(w) exactly, which is the propensity. When one arm's
weight grows, units move only into that arm: assignment is monotone. Layer and holdout have hashes
of their own, so that neither says anything of the arm.
"""

import hashlib
import math
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

from msgspec import Struct

from adapters.experiments.design import BASE_ARM, Arm, Eligibility, Experiment, Unit
from adapters.interactions import unit_digest

__all__ = ["BASE_ARM", "Arm", "Assignment", "Enrolment", "Split", "Standing", "Subject", "enrol"]


class Standing(StrEnum):
    """What a request is to an experiment on its domain."""

    ASSIGNED = "assigned"
    HOLDOUT = "holdout"
    INELIGIBLE = "ineligible"
    SHADOW = "shadow"  # a shadow arm's answer to what another arm was asked


class Subject(Struct, frozen=True):
    """Who asks, by every name an experiment may go by.

    `unit` is the digest of the first that is present of session, user and key; the others are as
    the caller sent them.
    """

    unit: str
    key: str
    session: str | None = None
    user: str | None = None
    metadata: Mapping[str, object] | None = None


class Assignment(Struct, frozen=True):
    """The arm a unit got, and how likely that was."""

    experiment: str
    arm: Arm
    propensity: float


class Enrolment(Struct, frozen=True):
    """A request's part in an experiment; `assignment` is None outside its arms."""

    experiment: str
    standing: Standing
    unit: str
    assignment: Assignment | None = None


@dataclass(frozen=True)
class Split:
    """An experiment as it runs now.

    Args:
        weights: by arm, in place of the design's.
        start: where its share of the layer begins, from 0 to 1.
        kept: conversations that go on in the arm they began in, with the propensity they had, by
            the digest of their session.
        until: of an experiment that is over, how long these go on (unix seconds); nobody else takes
            part in it.
    """

    experiment: Experiment
    weights: Mapping[str, float]
    start: float = 0.0
    kept: Mapping[str, tuple[str, float]] = field(default_factory=dict)
    until: float | None = None

    @cached_property
    def _live(self) -> tuple[Arm, ...]:
        return self.experiment.live

    def enrol(self, subject: Subject) -> Enrolment | None:
        """The subject's part in it; None if its unit belongs to the rest of the layer."""
        experiment = self.experiment
        unit = _unit(experiment.unit, subject)
        if self.until is not None:
            goes_on = self._conversation(subject) if time.time() < self.until else None
            if goes_on is None:
                return None
            return Enrolment(experiment.name, Standing.ASSIGNED, unit, goes_on)
        layer = experiment.layer
        if layer is not None and not (
            self.start <= uniform("layer", layer.name, unit) < self.start + layer.share
        ):
            return None
        eligible = not experiment.eligibility.restricts or _fits(experiment.eligibility, subject)
        if not unit or not eligible:
            return Enrolment(experiment.name, Standing.INELIGIBLE, unit)
        if experiment.holdout and uniform("holdout", experiment.salt, unit) < experiment.holdout:
            return Enrolment(experiment.name, Standing.HOLDOUT, unit)
        return Enrolment(experiment.name, Standing.ASSIGNED, unit, self._assigned(subject, unit))

    def assign(self, unit: str) -> Assignment:
        """Choose the unit's arm. Stateless: no lookup, no memory, nothing but the hash."""
        salt, weights = self.experiment.salt, self.weights
        best, chosen = math.inf, self.experiment.control
        for arm in self._live:
            weight = weights[arm.name]
            if weight > 0 and (draw := -math.log(uniform(salt, unit, arm.name)) / weight) < best:
                best, chosen = draw, arm
        return Assignment(
            self.experiment.name, chosen, weights[chosen.name] / math.fsum(weights.values())
        )

    def _assigned(self, subject: Subject, unit: str) -> Assignment:
        return self._conversation(subject) or self.assign(unit)

    def _conversation(self, subject: Subject) -> Assignment | None:
        """What a running conversation of the subject's goes on in; None if none is kept."""
        if self.kept and subject.session and self.experiment.unit is not Unit.REQUEST:
            name, propensity = self.kept.get(unit_digest(subject.session), ("", 1.0))
            for arm in self._live:
                if arm.name == name:
                    return Assignment(self.experiment.name, arm, propensity)
        return None


def enrol(splits: Sequence[Split], subject: Subject) -> Enrolment | None:
    """The subject's part in the one of a domain's experiments that its unit belongs to."""
    for split in splits:
        enrolment = split.enrol(subject)
        if enrolment is not None:
            return enrolment
    return None


def uniform(*parts: str) -> float:
    """A number in (0, 1) by the hash of the parts."""
    digest = hashlib.blake2b("\0".join(parts).encode(), digest_size=8).digest()
    # 53 bits, as many as a float holds: with all 64 the largest would round to 1.
    return ((int.from_bytes(digest, "big") >> 11) + 0.5) * 2.0**-53


def _unit(kind: Unit, subject: Subject) -> str:
    """The digest of what is assigned; empty where the request does not name it."""
    match kind:
        case Unit.SESSION:
            return subject.unit
        case Unit.USER:
            return unit_digest(subject.user) if subject.user else ""
        case Unit.KEY:
            return unit_digest(subject.key)
        case Unit.REQUEST:
            return secrets.token_hex(16)


def _fits(wanted: Eligibility, subject: Subject) -> bool:
    if wanted.keys and subject.key not in wanted.keys:
        return False
    given = subject.metadata or {}
    return all(given.get(name) in values for name, values in wanted.metadata.items())
