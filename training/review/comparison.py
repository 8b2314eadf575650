"""Two models' answers before people who do not know which is whose, and what came of it."""

import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from scipy.stats import binomtest

from adapters.review.item import Example, Item, ItemKind, Verdict, deciding
from adapters.review.proposal import NewItem
from adapters.review.wording import checked_name
from training.errors import DataError, TooFewRows
from training.evaluation.evaluate import rounded
from training.evaluation.intervals import FEW, mean_interval
from training.review.agreement import Agreement, agreement
from training.rows import Row

Answered = Sequence[tuple[Row, str | None]]


@dataclass(frozen=True, slots=True)
class Tally:
    """How the first model did against the second, a value for each item: 1 where more annotators
    preferred it, 0 where fewer did, 0.5 where they are even."""

    values: list[float] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Wins, and how likely so uneven a result is if neither were better (sign test, ties
        apart)."""
        wins, losses = self.values.count(1.0), self.values.count(0.0)
        n = len(self.values)
        return rounded(
            {
                "n": n,
                "few": n < FEW,
                "wins": wins,
                "ties": n - wins - losses,
                "losses": losses,
                "win_rate": sum(self.values) / n if n else None,
                "ci95": mean_interval(self.values) if n else None,
                "p": float(binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0,
            }
        )


@dataclass(frozen=True, slots=True)
class Findings:
    """The report of a comparison; `models` in the order of which the first wins or loses."""

    name: str
    models: tuple[str, str]
    total: int
    overall: Tally
    tasks: dict[str, Tally]
    agreement: Agreement

    def as_json(self) -> dict[str, Any]:
        """The document of `turnout review report --json`."""
        return {
            "name": self.name,
            "models": list(self.models),
            "items": self.total,
            "judged": len(self.overall.values),
            **self.overall.as_json(),
            "tasks": {task: tally.as_json() for task, tally in sorted(self.tasks.items())},
            "agreement": self.agreement.as_json()["alpha"],
        }


def comparison(
    domain: str,
    name: str,
    models: tuple[str, str],
    answers: tuple[Answered, Answered],
    *,
    wanted: int = 1,
    seed: int = 0,
) -> list[NewItem]:
    """Items for the queue, their sides by chance; without rows that one of the models did not
    answer, or both alike. Raises TooFewRows if none is left."""
    checked_name(name, "comparison")
    rng = random.Random(seed)
    items = []
    for (row, one), (_, other) in zip(*answers, strict=True):
        texts = ((one or "").strip(), (other or "").strip())
        if not all(texts) or texts[0] == texts[1]:
            continue
        sides = list(zip(models, texts, strict=True))
        rng.shuffle(sides)
        (left, first), (right, second) = sides
        items.append(
            NewItem(
                domain,
                ItemKind.HUMAN_EVAL,
                Example(row.prompt, first, second, row.task),
                origin={"models": [left, right], "of": list(models), "row": row.origin},
                batch=name,
                wanted=wanted,
            )
        )
    if not items:
        raise TooFewRows(f"{models[0]} and {models[1]} give no two different answers to compare")
    return items


def findings(name: str, items: Iterable[Item]) -> Findings:
    """What annotators found; only here it is told which answer is whose. Raises DataError."""
    every = list(items)
    if not every:
        raise DataError(f"no comparison is named {name!r}; `turnout review compare` makes one")
    first, second = every[0].origin["of"]
    overall, tasks = Tally(), defaultdict[str, Tally](Tally)
    for item in every:
        value = _value(item, first)
        if value is not None:
            overall.values.append(value)
            tasks[item.example.task].values.append(value)
    return Findings(name, (first, second), len(every), overall, tasks, agreement(every))


def _value(item: Item, model: str) -> float | None:
    """Whether a model won, over all annotators; None where nobody said anything yet."""
    mine = Verdict.FIRST if item.origin["models"][0] == model else Verdict.SECOND
    said = [one.verdict for one in deciding(item.annotations)]
    if not said:
        return None
    ahead = said.count(mine) - (len(said) - said.count(Verdict.TIE) - said.count(mine))
    return 0.5 + 0.5 * (ahead > 0) - 0.5 * (ahead < 0)
