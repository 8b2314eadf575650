"""What is enough for a domain, measured on held-out rows: a prompt, examples, passages, an adapter.

Takes functions that answer questions; knows nothing of where models run.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from training.curation.split import Split
from training.evaluation.evaluate import Answers, Evaluation, evaluate, rounded
from training.evaluation.intervals import Interval, difference_interval
from training.evaluation.speed import Meter
from training.progress import Reporter
from training.prompting.choose import best_prompt, candidates
from training.prompting.passages import Passages
from training.prompting.prompt import Prompt, Way
from training.rows import Row

# A model that tells a meter what it took to answer.
Model = Callable[[Meter], Answers]

LEVEL = 0.95
ADAPTER = "adapter"


@dataclass(frozen=True, slots=True)
class Approach:
    """One way to have a domain's questions answered, and how it went.

    `tokens` of prompt and answer are means over the questions, None where the server does not tell;
    `seconds` is the time for all of them over their number, as they were asked side by side.
    """

    name: str
    prompt: str
    evaluation: Evaluation
    tokens: float | None
    seconds: float

    @property
    def score(self) -> float:
        return self.evaluation.score

    @property
    def cost(self) -> str:
        """In words, for a sentence."""
        return "" if self.tokens is None else f" at {self.tokens:.0f} tokens each"

    def as_json(self) -> dict[str, Any]:
        """Scores by task, and the cost."""
        found = self.evaluation.as_json()
        kept = {key: found[key] for key in ("n", "errored", "score", "tasks")}
        cost = {"tokens_per_question": self.tokens, "seconds_per_question": self.seconds}
        return {"name": self.name, "prompt": self.prompt, **kept, **rounded(cost)}


@dataclass(frozen=True, slots=True)
class Advice:
    """Approaches in the order of the work they make, and what follows from their scores.

    One that surely scores less than the best by more than `margin` is not enough; the first of the
    others is advised. Intervals are corrected for the number of approaches that might have been
    best (Bonferroni), as which one is was read off the same rows.
    """

    approaches: tuple[Approach, ...]
    margin: float

    @property
    def best(self) -> Approach:
        """Of equals the one that makes the least work."""
        return max(self.approaches, key=lambda one: one.score)

    @property
    def advised(self) -> Approach:
        return next(one for one in self.approaches if self.behind(one)[1] >= -self.margin)

    @property
    def is_sure(self) -> bool:
        """Whether the advised one surely is within the margin of the best."""
        return self.behind(self.advised)[0] >= -self.margin

    @property
    def level(self) -> float:
        """Of each interval, so that all hold together at LEVEL."""
        return 1 - (1 - LEVEL) / max(1, len(self.approaches) - 1)

    def behind(self, one: Approach) -> Interval:
        """The interval of an approach's score less the best one's."""
        if one is self.best:
            return 0.0, 0.0
        mine, best = (
            {name: task.values for name, task in which.evaluation.tasks.items()}
            for which in (one, self.best)
        )
        return difference_interval(mine, best, level=self.level)

    @property
    def sentence(self) -> str:
        """The advice with its numbers."""
        advised, best = self.advised, self.best
        if best.score == 0:
            return "Nothing is enough: no approach got a single answer right."
        said = f"{advised.name.capitalize()} {'is' if self.is_sure else 'may be'} enough: "
        said += f"{_percent(advised.score)} on {advised.evaluation.n} rows{advised.cost}"
        if advised is not best:
            said += f", {self._compared(advised)} against {best.name}, the best{best.cost}"
        elif cheaper := self.approaches[: self.approaches.index(best)]:
            rival = max(cheaper, key=lambda one: one.score)
            said += f", the best; {rival.name} has {_percent(rival.score)}{rival.cost}, "
            said += self._compared(rival)
        if not self.is_sure:
            said += f"; more rows would tell whether it is within {100 * self.margin:g} points"
        return f"{said}."

    def as_json(self) -> dict[str, Any]:
        """The document of `turnout advise --json`."""
        return {
            "margin": self.margin,
            "level": round(self.level, 4),
            "best": self.best.name,
            "advised": self.advised.name,
            "sure": self.is_sure,
            "advice": self.sentence,
            "approaches": [
                one.as_json() | rounded({"behind_best": self.behind(one)})
                for one in self.approaches
            ],
        }

    def _compared(self, one: Approach) -> str:
        low, high = self.behind(one)
        return (
            f"{_points(one.score - self.best.score)} points "
            f"({100 * self.level:.1f} % interval {_points(low)} to {_points(high)})"
        )


def advise(
    base: Model,
    adapter: Model | None,
    parts: Split,
    passages: Passages | None,
    reporter: Reporter,
    *,
    margin: float = 0.02,
) -> Advice:
    """Measure every approach on the test part. Examples are training rows; where there are several
    prompts of one kind, the validation part chooses, by the tasks that are tested."""
    prompts = candidates(parts.train, passages)
    tested = {row.task for row in parts.test}
    validation = [row for row in parts.validation if row.task in tested]
    chosen = list(_one_of_each(base, prompts, validation, reporter))
    asked = [(str(prompt.way), base, prompt) for prompt in chosen]
    if adapter is not None:
        for prompt in chosen:
            if prompt.way is Way.PLAIN:
                asked.append((ADAPTER, adapter, prompt))
            elif prompt.way is Way.RETRIEVAL:
                asked.append((f"{ADAPTER} + {prompt.way}", adapter, prompt))
    return Advice(tuple(_measured(*one, parts.test, reporter) for one in asked), margin)


def _one_of_each(
    base: Model, prompts: Sequence[Prompt], validation: Sequence[Row], reporter: Reporter
) -> Iterator[Prompt]:
    """The best prompt of each kind."""
    for way, some in groupby(prompts, key=lambda prompt: prompt.way):
        reporter.stage(f"choose {way}")
        yield best_prompt(
            base(Meter()),
            list(some),
            validation,
            lambda done, total: reporter.advance(done, total, {}),
        )


def _measured(
    name: str, model: Model, prompt: Prompt, rows: Sequence[Row], reporter: Reporter
) -> Approach:
    reporter.stage(f"ask {name}")
    meter = Meter()
    evaluation = evaluate(
        name,
        rows,
        model(meter),
        lambda done, total: reporter.advance(done, total, {}),
        prompt.apply,
    )
    counts = [*meter.asked, *meter.tokens]
    tokens = sum(counts) / len(meter.asked) if meter.asked else None
    return Approach(name, prompt.name, evaluation, tokens, meter.seconds / len(rows))


def _percent(score: float) -> str:
    return f"{100 * score:.1f} %"


def _points(difference: float) -> str:
    return f"{100 * difference:+.1f}"
