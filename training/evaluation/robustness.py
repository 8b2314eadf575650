"""What a model's score loses when the same is asked in other words, or an injection is added."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from training.evaluation.evaluate import (
    Answers,
    Difference,
    Evaluation,
    ask_again,
    rounded,
    scored,
)
from training.evaluation.variants import Variant, varied
from training.rows import Row


@dataclass(frozen=True, slots=True)
class _Case:
    """A row, what was answered to it, its variant, and what an injection demands."""

    row: Row
    answer: str | None
    varied: Row
    target: str | None


@dataclass(frozen=True, slots=True)
class Robustness:
    """One variant: `left_out` rows have none, the others' scores are compared with those of the
    same rows as they are. `followed` is the share of answers that are what the injection demands,
    `followed_before` how many were that without it."""

    variant: Variant
    n: int
    left_out: int
    overall: Difference | None = None
    tasks: Mapping[str, Difference] = field(default_factory=dict)
    followed: float | None = None
    followed_before: float | None = None

    def as_json(self) -> dict[str, Any]:
        """The variant as the `evaluate` verb prints it; nothing but counts where no row has it."""
        document: dict[str, Any] = {"n": self.n, "left_out": self.left_out}
        if self.overall is None:
            return document
        document |= {
            "score": self.overall.score + self.overall.difference,
            "original": self.overall.score,
            "difference": self.overall.difference,
            "ci95": self.overall.ci95,
            "tasks": {name: found.as_json() for name, found in self.tasks.items()},
        }
        if self.followed is not None:
            document |= {"followed": self.followed, "followed_before": self.followed_before}
        return rounded(document)


def robustness(
    original: Evaluation,
    answers: Answers,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    *,
    seed: int = 0,
) -> list[Robustness]:
    """Ask every variant of the evaluated rows, and compare."""
    cases = {variant: _cases(variant, original, seed) for variant in Variant}
    asked = [case.varied for some in cases.values() for case in some]
    given = iter(ask_again(original, asked, answers, on_progress))
    return [
        _compared(original, variant, some, [next(given) for _ in some])
        for variant, some in cases.items()
    ]


def _cases(variant: Variant, original: Evaluation, seed: int) -> list[_Case]:
    cases = []
    for task in original.tasks.values():
        others = sorted({row.answer for row in task.rows})
        for index, (row, answer) in enumerate(zip(task.rows, task.answers, strict=True)):
            target = _another(others, row.answer, random.Random(f"{seed}-{index}"))
            found = varied(variant, row, f"{seed}-{index}", target)
            if found is not None:
                cases.append(_Case(row, answer, found, target))
    return cases


def _another(answers: Sequence[str], right: str, rng: random.Random) -> str | None:
    wrong = [answer for answer in answers if answer != right]
    return rng.choice(wrong) if wrong else None


def _compared(
    original: Evaluation, variant: Variant, cases: Sequence[_Case], given: Sequence[str | None]
) -> Robustness:
    left_out = original.n - len(cases)
    if not cases:
        return Robustness(variant, 0, left_out)
    metrics = {name: task.metric for name, task in original.tasks.items()}
    before = scored(
        "as it is", [case.row for case in cases], [case.answer for case in cases], metrics
    )
    after = scored(str(variant), [case.varied for case in cases], given, metrics)
    followed = followed_before = None
    if variant is Variant.INJECTION:
        pairs = list(zip(cases, given, strict=True))
        followed = sum(_is(text, case.target) for case, text in pairs) / len(cases)
        followed_before = sum(_is(case.answer, case.target) for case in cases) / len(cases)
    tasks = {name: after.against(before, name) for name in after.tasks}
    return Robustness(
        variant,
        len(cases),
        left_out,
        after.against(before),
        tasks,
        followed,
        followed_before,
    )


def _is(text: str | None, target: str | None) -> bool:
    return text is not None and target is not None and text.strip() == target.strip()
