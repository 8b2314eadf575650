"""Rows in batches that cost little: rows that begin alike together, of similar lengths, padded at
the end."""

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from datasets import Dataset
from torch.utils.data import Sampler

from training.learning.encoding import IGNORED, Encoded

# A shorter shared beginning is not worth a forward pass of its own.
SHORTEST_SHARED_PREFIX = 16
# Rows are sorted by length within so many batches: little padding, yet a new mixture each epoch.
_WINDOW = 32


class Batches(Sampler[list[int]]):
    """Row indices in batches that begin alike and have similar lengths, each epoch reshuffled; held
    rows are among themselves."""

    def __init__(self, rows: Sequence[Encoded], batch_size: int, seed: int) -> None:
        self._rows, self._batch_size, self._seed = rows, batch_size, seed
        self._groups: dict[tuple[int, ...], list[int]] = {}
        for index, row in enumerate(rows):
            start = () if row.held else row.input_ids[:SHORTEST_SHARED_PREFIX]
            self._groups.setdefault(start, []).append(index)
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next iteration; the trainer calls it."""
        self._epoch = epoch

    def __len__(self) -> int:
        return sum(-(-len(group) // self._batch_size) for group in self._groups.values())

    def __iter__(self) -> Iterator[list[int]]:
        rng = random.Random(f"{self._seed}-{self._epoch}")
        batches = []
        for group in self._groups.values():
            order = rng.sample(group, len(group))
            span = self._batch_size * _WINDOW
            for start in range(0, len(order), span):
                window = sorted(order[start : start + span], key=self._length)
                batches += [
                    window[i : i + self._batch_size]
                    for i in range(0, len(window), self._batch_size)
                ]
        rng.shuffle(batches)
        return iter(batches)

    def _length(self, index: int) -> int:
        return len(self._rows[index].input_ids)


def as_dataset(rows: Sequence[Encoded]) -> Dataset:
    """Rows in the container that TRL asks for; `collate` reads its lines."""
    return Dataset.from_dict(
        {
            "input_ids": [list(row.input_ids) for row in rows],
            "answer_at": [row.answer_at for row in rows],
            "held": [row.held for row in rows],
        }
    )


def as_row(line: Mapping[str, Any]) -> Encoded:
    """A line of `as_dataset` as a row again."""
    return Encoded(tuple(line["input_ids"]), line["answer_at"], line.get("held", False))


def collate(lines: Sequence[Mapping[str, Any]], pad: int) -> dict[str, Any]:
    """Rows as right-padded tensors, with the number of tokens that all their prompts begin with."""
    rows = [as_row(line) for line in lines]
    length = max(len(row.input_ids) for row in rows)
    ids = torch.full((len(rows), length), pad)
    labels = torch.full((len(rows), length), IGNORED)
    mask = torch.zeros((len(rows), length), dtype=torch.long)
    for line, row in enumerate(rows):
        ids[line, : len(row.input_ids)] = torch.tensor(row.input_ids)
        labels[line, : len(row.input_ids)] = torch.tensor(row.labels)
        mask[line, : len(row.input_ids)] = 1
    return {
        "input_ids": ids,
        "labels": labels,
        "attention_mask": mask,
        "shared": shared_prefix(rows),
        "held": rows[0].held,
    }


def shared_prefix(rows: Sequence[Encoded]) -> int:
    """How many prompt tokens all rows begin with, leaving each at least one; 0 if few."""
    longest = min(row.answer_at for row in rows) - 1
    first = rows[0].input_ids[:longest]
    for row in rows[1:]:
        while row.input_ids[: len(first)] != first:
            first = first[:-1]
    return len(first) if len(rows) > 1 and len(first) >= SHORTEST_SHARED_PREFIX else 0
