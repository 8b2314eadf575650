"""The domains phase: what prompts, passages and an adapter make of the same questions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import mean
from time import monotonic
from typing import Any

from benchmarks.training.linear import Choice
from training.evaluation.evaluate import Evaluation
from training.evaluation.intervals import Interval, difference_interval

GAIN = 0.27  # the claim: 62 % to 89 %
NEAR = 0.02  # to a linear classifier, on tasks of labels


class Side(StrEnum):
    """Who answers, and how it is asked."""

    BASE = "base"
    GROUNDED_EXAMPLES = "base + few-shot + retrieval"
    SERVED_PROMPT = "base + best served prompt"  # one that a system prompt and an index can hold
    BEST_PROMPT = "base + best prompt"
    ADAPTER = "adapter"
    GROUNDED_ADAPTER = "adapter + retrieval"


@dataclass(frozen=True, slots=True)
class Rival:
    """A choice between labels by the adapter and by the linear classifier, row by row."""

    choice: Choice
    ours: tuple[float, ...]
    linear: tuple[float, ...]

    @property
    def ci95(self) -> Interval:
        return difference_interval({"": self.ours}, {"": self.linear})

    @property
    def ok(self) -> bool:
        """Near the classifier or ahead of it. Fields of JSON are shown, not claimed."""
        near = mean(self.ours) >= mean(self.linear) - NEAR
        return near or self.choice.field is not None

    def as_json(self) -> dict[str, Any]:
        return {
            "adapter": round(mean(self.ours), 4),
            "linear": round(mean(self.linear), 4),
            "difference": round(mean(self.ours) - mean(self.linear), 4),
            "ci95": [round(end, 4) for end in self.ci95],
        }


@dataclass(frozen=True, slots=True)
class Compared:
    """One domain. `prompts` are the best ones' names, `seconds` are by what they went into; answers
    kept from before take none."""

    domain: str
    version: str
    verdict: str
    prompts: Mapping[Side, str]
    sides: Mapping[Side, Evaluation]
    rivals: tuple[Rival, ...]
    seconds: Mapping[str, float]

    @property
    def gain(self) -> float:
        """Of the adapter over the base model's best prompt."""
        return self.sides[Side.ADAPTER].score - self.sides[Side.BEST_PROMPT].score

    @property
    def ok(self) -> bool:
        return self.gain > 0 and all(rival.ok for rival in self.rivals)

    def as_json(self) -> dict[str, Any]:
        ours = self.sides[Side.ADAPTER]
        return {
            "version": self.version,
            "verdict": self.verdict,
            "prompts": {str(side): name for side, name in self.prompts.items()},
            "sides": {str(side): one.as_json() for side, one in self.sides.items()},
            "gain": ours.against(self.sides[Side.BEST_PROMPT]).as_json(),
            "gain_with_retrieval": self.sides[Side.GROUNDED_ADAPTER].against(ours).as_json(),
            "linear": {rival.choice.name: rival.as_json() for rival in self.rivals},
            "seconds": {part: round(time, 1) for part, time in self.seconds.items()},
            "ok": self.ok,
        }


@dataclass(frozen=True, slots=True)
class Comparison:
    """All domains, each with the same weight."""

    domains: tuple[Compared, ...]
    missing: tuple[str, ...] = ()

    def mean(self, side: Side) -> float:
        return mean(one.sides[side].score for one in self.domains)

    def gain(self, side: Side, over: Side) -> tuple[float, Interval]:
        """Difference of the means over domains, with a paired 95 % interval."""
        return self.mean(side) - self.mean(over), difference_interval(
            self._weighted(side), self._weighted(over)
        )

    @property
    def ok(self) -> bool:
        gain, _ = self.gain(Side.ADAPTER, Side.BEST_PROMPT)
        return gain >= GAIN and not self.missing and all(one.ok for one in self.domains)

    def as_json(self) -> dict[str, Any]:
        pairs = {
            "gain": (Side.ADAPTER, Side.BEST_PROMPT),
            "gain_over_examples_and_retrieval": (Side.ADAPTER, Side.GROUNDED_EXAMPLES),
            "gain_over_served_prompt": (Side.ADAPTER, Side.SERVED_PROMPT),
            "gain_with_retrieval": (Side.GROUNDED_ADAPTER, Side.ADAPTER),
        }
        gains = {name: self.gain(*pair) for name, pair in pairs.items()}
        return {
            "domains": {one.domain: one.as_json() for one in self.domains},
            "missing": list(self.missing),
            "mean": {str(side): round(self.mean(side), 4) for side in Side},
            **{
                name: {"difference": round(gain, 4), "ci95": [round(end, 4) for end in ends]}
                for name, (gain, ends) in gains.items()
            },
            "ok": self.ok,
        }

    def _weighted(self, side: Side) -> dict[str, Sequence[float]]:
        """Every task's scores, times what makes the mean over tasks that over domains."""
        tasks = sum(len(one.sides[side].tasks) for one in self.domains)
        return {
            f"{one.domain} {name}": [
                value * tasks / (len(self.domains) * len(one.sides[side].tasks))
                for value in task.values
            ]
            for one in self.domains
            for name, task in one.sides[side].tasks.items()
        }


class Times:
    """Seconds by part of the work, each since the one before."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._before = monotonic()

    def __call__(self, part: str) -> None:
        """What went on until now was this part."""
        now = monotonic()
        self.seconds[part] = now - self._before
        self._before = now
