"""Measurements of an experiment made of numbers, without a log."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from adapters.experiments.design import Experiment
from adapters.experiments.entry import Entry, State
from adapters.experiments.observations import Array, Measurement, Population, Sample

BEGUN = 4e9  # 2096-10-02, 07:06:40
HOUR = 3600.0


def entry(design: Experiment, **weights: float) -> Entry:
    """It runs, by these weights."""
    at = "2025-01-01T00:00:00Z"
    return Entry(design, State.RUNNING, None, weights, {}, 0.0, at, at, None)


def move(at: str, **weights: float) -> dict[str, Any]:
    """As much of the audit log's line as an analysis reads."""
    return {"at": at, "after": {"weights": weights}}


def sample(
    y: Sequence[float] | Array, first: Array | None = None, c: Array | None = None
) -> Sample:
    """Units in the order of time, by default a second apart."""
    values = np.asarray(y, dtype=float)
    first = BEGUN + np.arange(len(values)) if first is None else first
    known = np.zeros(len(values)) if c is None else c
    return Sample(values, np.ones(len(values)), known, first, np.ones(len(values)))


def measured(arms: Mapping[str, Sample], **more: Any) -> Measurement:
    """Thumbs of these arms, each unit with one answer."""
    return Measurement(
        populations={
            name: Population(one.units, one.units, one.units, one.units, one.first, one.propensity)
            for name, one in arms.items()
        },
        samples={"thumb": arms},
        **more,
    )
