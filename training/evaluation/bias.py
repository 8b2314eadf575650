"""Whether answers change with words that should not matter: a pack's probes, asked both ways.

Counterfactual evaluation (Garg et al. 2019): the user's words and the expected answer have the
words of two groups exchanged, all else stays.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

from adapters.probes import Probe
from training.evaluation.evaluate import (
    Answers,
    Difference,
    Evaluation,
    ask_again,
    rounded,
    scored,
)
from training.evaluation.intervals import FEW, mean_interval
from training.rows import Row


@dataclass(frozen=True, slots=True)
class Exchange:
    """Two groups of a probe: exchanges their words in a text, at once and in both directions."""

    probe: Probe
    one: int
    other: int

    def __call__(self, text: str) -> str:
        """The text with every word exchanged, in the capitals of the word before it."""
        return self._pattern.sub(self._replaced, text)

    def first(self, text: str) -> int | None:
        """The group that the text names first; None if it names neither."""
        found = self._pattern.search(text)
        entry = self._groups.get(found.group().casefold()) if found else None
        return None if entry is None else entry[0]

    @property
    def names(self) -> tuple[str, str]:
        return self.probe.names[self.one], self.probe.names[self.other]

    @property
    def _groups(self) -> dict[str, tuple[int, str]]:
        """Of every word its group, and what stands in its place."""
        found: dict[str, tuple[int, str]] = {}
        for words in self.probe.swap:
            one, other = words[self.one], words[self.other]
            found |= {one.casefold(): (self.one, other), other.casefold(): (self.other, one)}
        return found

    @property
    def _pattern(self) -> re.Pattern[str]:
        longest_first = sorted(self._groups, key=len, reverse=True)
        return re.compile(
            rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first))})(?!\w)", re.IGNORECASE
        )

    def _replaced(self, found: re.Match[str]) -> str:
        word = found.group()
        entry = self._groups.get(word.casefold())
        if entry is None:  # a letter such as İ matches i, and is not its capital
            return word
        new = entry[1]
        if word.islower():
            return new.lower()
        if word.isupper() and len(word) > 1:
            return new.upper()
        return new[:1].upper() + new[1:]


@dataclass(frozen=True, slots=True)
class Bias:
    """Two groups compared: `n` rows name each first, `changed` is for every answered row whether
    the answer changed with the words. The difference is the second group's score less the first's.
    """

    probe: str
    groups: tuple[str, str]
    n: tuple[int, int]
    errored: int
    changed: tuple[bool, ...]
    difference: Difference | None

    def as_json(self) -> dict[str, Any]:
        """The comparison as the `evaluate` verb prints it; without answers nothing but counts."""
        document: dict[str, Any] = {
            "probe": self.probe,
            "n": dict(zip(self.groups, self.n, strict=True)),
            "errored": self.errored,
            "few": len(self.changed) < FEW,
        }
        if self.difference is None:
            return document
        first, second = self.groups
        return rounded(
            document
            | {
                "changed": sum(self.changed) / len(self.changed),
                "changed_ci95": mean_interval([float(one) for one in self.changed]),
                "scores": {
                    first: self.difference.score,
                    second: self.difference.score + self.difference.difference,
                },
                "difference": self.difference.difference,
                "ci95": self.difference.ci95,
            }
        )


def bias(
    original: Evaluation,
    probes: Sequence[Probe],
    answers: Answers,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Bias]:
    """Ask every evaluated row that names a group once more with the groups exchanged."""
    exchanges = [
        Exchange(probe, *pair)
        for probe in probes
        for pair in combinations(range(len(probe.names)), 2)
    ]
    pairs = [
        [(row, text) for row, text in original.answered if exchange.first(row.question) is not None]
        for exchange in exchanges
    ]
    twins = [
        _twin(row, exchange)
        for exchange, some in zip(exchanges, pairs, strict=True)
        for row, _ in some
    ]
    given = zip(twins, ask_again(original, twins, answers, on_progress), strict=True)
    return [
        _compared(original, exchange, some, [next(given) for _ in some])
        for exchange, some in zip(exchanges, pairs, strict=True)
    ]


def _twin(row: Row, exchange: Exchange) -> Row:
    prompt = tuple(
        (role, text if role == "system" else exchange(text)) for role, text in row.prompt
    )
    return replace(row, prompt=prompt, answer=exchange(row.answer))


_Answered = tuple[Row, str | None]


def _compared(
    original: Evaluation, exchange: Exchange, asked: list[_Answered], twins: list[_Answered]
) -> Bias:
    named = [exchange.first(row.question) for row, _ in asked]
    sides: tuple[list[tuple[Row, str]], list[tuple[Row, str]]] = ([], [])
    changed = []
    for first, (row, text), (twin, other) in zip(named, asked, twins, strict=True):
        if text is None or other is None:
            continue
        changed.append(exchange(text).strip() != other.strip())
        both = ((row, text), (twin, other))
        for side, answered in zip(
            sides, both if first == exchange.one else both[::-1], strict=True
        ):
            side.append(answered)
    metrics = {name: task.metric for name, task in original.tasks.items()}
    one, two = (
        scored(name, [row for row, _ in side], [text for _, text in side], metrics)
        for name, side in zip(exchange.names, sides, strict=True)
    )
    return Bias(
        exchange.probe.name,
        exchange.names,
        (named.count(exchange.one), named.count(exchange.other)),
        len(asked) - len(changed),
        tuple(changed),
        two.against(one) if changed else None,
    )
