"""Fewer rows to ask, where asking all would take too long."""

import random
from collections.abc import Sequence

from training.rows import Row


def sample(rows: Sequence[Row], most: int, seed: int) -> tuple[Row, ...]:
    """At most so many rows of each task, drawn by chance, in their order."""
    by_task: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        by_task.setdefault(row.task, []).append(index)
    rng = random.Random(seed)
    chosen = [
        index
        for some in by_task.values()
        for index in (some if len(some) <= most else rng.sample(some, most))
    ]
    return tuple(rows[index] for index in sorted(chosen))
