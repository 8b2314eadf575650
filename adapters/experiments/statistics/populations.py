"""Units as they might come: what `simulate` draws, given the rates and variances observed."""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from adapters.errors import InvalidExperiment
from adapters.experiments.statistics.moments import Array, Estimand, Moments


class Population(Protocol):
    """One arm's units; `effect` is added to what the estimand estimates."""

    @property
    def estimand(self) -> Estimand: ...
    def unit_variance(self, effect: float = 0.0) -> float: ...
    def draw(
        self, rng: np.random.Generator, experiments: int, units: int, effect: float
    ) -> Moments: ...


@dataclass(frozen=True, slots=True)
class Proportion:
    """Yes or no per unit."""

    rate: float

    def __post_init__(self) -> None:
        if not 0 < self.rate < 1:
            raise InvalidExperiment(f"a rate lies between 0 and 1, got {self.rate}")

    @property
    def estimand(self) -> Estimand:
        return Estimand.MEAN

    def unit_variance(self, effect: float = 0.0) -> float:
        """Of an arm with this effect."""
        return (self.rate + effect) * (1 - self.rate - effect)

    def draw(
        self, rng: np.random.Generator, experiments: int, units: int, effect: float
    ) -> Moments:
        """Moments `(experiments,)` of so many new units each."""
        yes = rng.binomial(units, self.rate + effect, size=experiments).astype(float)
        n, none = np.full(experiments, float(units)), np.zeros(experiments)
        products = np.stack([yes, yes, none, yes, n, none, none, none, none], axis=-1)
        return Moments(n, np.stack([yes, n, none], axis=-1), products.reshape(-1, 3, 3))


@dataclass(frozen=True, slots=True)
class Amount:
    """A positive number per unit, lognormal: latencies, lengths; near normal if it varies little.

    `correlation` is that with a covariate from before the experiment, which CUPED then uses.
    """

    mean: float
    deviation: float
    correlation: float = 0.0

    def __post_init__(self) -> None:
        if not (self.mean > 0 and self.deviation > 0 and -1 < self.correlation < 1):
            raise InvalidExperiment(
                "an amount has a mean and a deviation above 0 and a correlation within 1, got "
                f"{self.mean}, {self.deviation}, {self.correlation}"
            )

    @property
    def estimand(self) -> Estimand:
        return Estimand.MEAN

    def unit_variance(self, effect: float = 0.0) -> float:
        """After CUPED, where there is a correlation; the effect shifts all units alike."""
        return self.deviation**2 * (1 - self.correlation**2)

    def draw(
        self, rng: np.random.Generator, experiments: int, units: int, effect: float
    ) -> Moments:
        """Moments `(experiments,)` of so many new units each."""
        shape = (experiments, units)
        squared = math.log1p((self.deviation / self.mean) ** 2)
        y = np.exp(rng.normal(math.log(self.mean) - squared / 2, math.sqrt(squared), shape))
        c: Array | float = 0.0
        if self.correlation:
            noise = rng.normal(0.0, math.sqrt(1 - self.correlation**2), shape)
            c = self.correlation * (y - self.mean) / self.deviation + noise
        return Moments.of(y + effect, 1.0, c)


@dataclass(frozen=True, slots=True)
class RequestRate:
    """Yes or no per request, users as units: a ratio metric.

    A user makes 1 + Poisson(requests - 1) requests; users' own rates are beta with `rate` as mean
    and `spread` as intraclass correlation: 0 is the same for all, 1 is always or never.
    """

    rate: float
    requests: float
    spread: float

    def __post_init__(self) -> None:
        if not (0 < self.rate < 1 and self.requests >= 1 and 0 < self.spread < 1):
            raise InvalidExperiment(
                "requests have a rate between 0 and 1, 1 or more per user, and a spread between 0 "
                f"and 1, got {self.rate}, {self.requests}, {self.spread}"
            )

    @property
    def estimand(self) -> Estimand:
        return Estimand.RATIO

    def unit_variance(self, effect: float = 0.0) -> float:
        """Of (y - rate x) / requests: what all of a user's requests share, and the rest."""
        request = (self.rate + effect) * (1 - self.rate - effect)
        between, within = request * self.spread, request * (1 - self.spread)
        squares = self.requests - 1 + self.requests**2
        return (squares * between + self.requests * within) / self.requests**2

    def draw(
        self, rng: np.random.Generator, experiments: int, units: int, effect: float
    ) -> Moments:
        """Moments `(experiments,)` of so many new units each."""
        shape, rate, weight = (experiments, units), self.rate + effect, 1 / self.spread - 1
        x = 1 + rng.poisson(self.requests - 1, shape)
        y = rng.binomial(x, rng.beta(rate * weight, (1 - rate) * weight, shape))
        return Moments.of(y, x)
