"""All that is asked of a model besides its answers to the rows, as one report.

Knows in which order things are asked, and nothing of how they are shown.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from adapters.experiments.design import Judge
from adapters.experiments.statistics.multiple import holm
from adapters.probes import Probe
from training.evaluation.bias import Bias, bias
from training.evaluation.evaluate import Answers, Difference, Evaluation, evaluate, rounded
from training.evaluation.judging import Judged, judged
from training.evaluation.likelihood import Likelihood, Loss
from training.evaluation.robustness import Robustness, robustness
from training.evaluation.significance import p_value
from training.evaluation.slices import Slices, slices
from training.evaluation.speed import Meter
from training.progress import Reporter
from training.rows import Row

Progress = Callable[[int, int], None]
# Likeness of every (expected, answer), 0 to 1.
Likeness = Callable[[Sequence[tuple[str, str]], Progress], list[float]]


class Models(Protocol):
    """Models by name, on a server or in this process."""

    def answers(self, name: str, meter: Meter | None = None) -> Answers:
        """The function that asks a model."""

    def losses(
        self, name: str, rows: Sequence[Row], on_progress: Progress = ...
    ) -> list[Loss | None]:
        """How unlikely a model holds the expected answers to be."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to look at. A judge needs a model to compare with; `key` is the judge's."""

    slices: bool = False
    perplexity: bool = False
    robust: bool = False
    probes: tuple[Probe, ...] = ()
    likeness: Likeness | None = None
    judge: Judge | None = None
    key: str | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Compared:
    """One task against one model; `p` is two-sided, `p_holm` for all tasks and models together."""

    difference: Difference
    p: float
    p_holm: float

    def as_json(self) -> dict[str, Any]:
        """The comparison as the `evaluate` verb prints it."""
        return self.difference.as_json() | rounded({"p": self.p, "p_holm": self.p_holm})


@dataclass
class Report:
    """What was found; what was not wanted is empty. Mappings are by model, or by task in them."""

    mine: Evaluation
    others: list[Evaluation]
    speed: dict[str, Meter]
    compared: dict[str, dict[str, Compared]] = field(default_factory=dict)
    slices: dict[str, Slices] = field(default_factory=dict)
    bertscore: dict[str, dict[str, float]] = field(default_factory=dict)
    perplexity: dict[str, Likelihood] = field(default_factory=dict)
    robustness: list[Robustness] = field(default_factory=list)
    bias: list[Bias] = field(default_factory=list)
    judged: dict[str, Judged] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The document of `turnout evaluate --json`."""
        document = self.mine.as_json(self.others)
        for model, tasks in self.compared.items():
            document["against"][model]["tasks"] = _json(tasks)
        document["speed"] = _json(self.speed)
        sections: dict[str, Any] = {
            "slices": {
                task: {name: _json(parts) for name, parts in found.items()}
                for task, found in self.slices.items()
            },
            "bertscore": {model: rounded(dict(tasks)) for model, tasks in self.bertscore.items()},
            "perplexity": _json(self.perplexity),
            "robustness": {str(one.variant): one.as_json() for one in self.robustness},
            "bias": [one.as_json() for one in self.bias],
            "judged": _json(self.judged),
        }
        return document | {name: found for name, found in sections.items() if found}


class _Printable(Protocol):
    def as_json(self) -> dict[str, Any]: ...


def _json(found: Mapping[str, _Printable]) -> dict[str, Any]:
    return {name: one.as_json() for name, one in found.items()}


def examine(
    names: Sequence[str], rows: Sequence[Row], models: Models, wanted: Wanted, reporter: Reporter
) -> Report:
    """Ask the first of the models all that is wanted, and the others what it is compared by."""

    def stage(title: str) -> Progress:
        reporter.stage(title)
        return lambda done, total: reporter.advance(done, total, {})

    meters = {name: Meter() for name in names}
    mine, *others = (
        evaluate(name, rows, models.answers(name, meters[name]), stage(f"ask {name}"))
        for name in names
    )
    report = Report(mine, others, meters, compared=compare(mine, others))
    if wanted.slices:
        report.slices = {name: slices(task) for name, task in mine.tasks.items()}
    for evaluation in (mine, *others):
        model = evaluation.model
        if wanted.likeness is not None:
            report.bertscore[model] = _likeness(evaluation, wanted.likeness, stage("BERTScore"))
        if wanted.perplexity:
            found = models.losses(model, rows, stage(f"perplexity of {model}"))
            report.perplexity[model] = Likelihood(tuple(found))
    answers = models.answers(mine.model)
    if wanted.robust:
        report.robustness = robustness(mine, answers, stage("ask variants"), seed=wanted.seed)
    if wanted.probes:
        report.bias = bias(mine, wanted.probes, answers, stage("ask probes"))
    if wanted.judge is not None:
        for other in others:
            hearing = stage(f"judge against {other.model}")
            report.judged[other.model] = judged(mine, other, wanted.judge, wanted.key, hearing)
    return report


def compare(mine: Evaluation, others: Sequence[Evaluation]) -> dict[str, dict[str, Compared]]:
    """Every task against every model."""
    pairs = [(other, name) for other in others for name in mine.tasks]
    p_values = []
    for other, name in pairs:
        ours, theirs = mine.tasks[name].values, other.tasks[name].values
        gain = [one - two for one, two in zip(ours, theirs, strict=True)]
        one_sided = min(p_value(gain), p_value([-one for one in gain]))
        p_values.append(min(1.0, 2 * one_sided))
    adjusted = holm(p_values).tolist() if pairs else []
    found: dict[str, dict[str, Compared]] = {}
    for (other, name), p, p_holm in zip(pairs, p_values, adjusted, strict=True):
        difference = mine.against(other, name)
        found.setdefault(other.model, {})[name] = Compared(difference, p, p_holm)
    return found


def _likeness(evaluation: Evaluation, likeness: Likeness, progress: Progress) -> dict[str, float]:
    """Means by task."""
    pairs = [(row.answer, text or "") for row, text in evaluation.answered]
    values = iter(likeness(pairs, progress))
    return {
        name: sum(next(values) for _ in task.rows) / len(task.rows)
        for name, task in evaluation.tasks.items()
    }
