"""A domain's rows as its gateway puts them to a model: with passages, where it has an index."""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

from retrieval.prompt import INSTRUCTION, ground
from training.evaluation.evaluate import Question, questions
from training.prompting.passages import Passages
from training.rows import Row, Source


def as_served(passages: Passages | None) -> Callable[[Sequence[Row]], list[Question]]:
    """Questions of rows, in their order, as a gateway that searches `passages` asks them."""
    if passages is None:
        return questions
    return lambda rows: questions([_grounded(row, passages) for row in rows])


def ground_some(
    rows: Sequence[Row], passages: Passages, share: float, seed: int
) -> tuple[Row, ...]:
    """The same rows, of which `share`, drawn by `seed`, have their passages.

    Who learned from bare questions alone takes a passage for a part of the question. The others
    stay bare, as RAFT leaves some without the passages that matter (arXiv:2403.10131): a passage
    costs more tokens than a question, and the answers are to be known by heart as well.
    """
    chosen = set(random.Random(seed).sample(range(len(rows)), round(share * len(rows))))
    return tuple(
        _grounded(row, passages) if index in chosen else row for index, row in enumerate(rows)
    )


def _grounded(row: Row, passages: Passages) -> Row:
    """With passages, unless it already is as the model saw it, or holds a model to what it says."""
    has_passages = any(INSTRUCTION in text for _, text in row.prompt)
    if row.held or row.source is Source.LOG or has_passages:
        return row
    messages = ground(row.messages, passages.find(row))
    return replace(row, prompt=tuple((said["role"], said["content"]) for said in messages))
