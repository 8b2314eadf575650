"""Laying out one step: which tokens are computed, and where each belongs in the cache."""

from collections.abc import Sequence as Items
from dataclasses import dataclass

import torch

from adapters.engines.embedded.cache import RowCache, StepLayout, Stretch, padding_mask, stretch
from adapters.engines.embedded.sequence import Sequence

# Prompt tokens computed in one step. More make prompts faster; running answers wait for them.
PROMPT_TOKENS = 256


@dataclass(frozen=True, slots=True)
class Step:
    """The tokens of one forward pass. `rows` and `positions` say whose each is, and which one."""

    tokens: list[int]
    positions: list[int]
    rows: list[int]
    wanted: list[int]  # indices of the tokens whose logits are needed: the last of each row
    layout: StepLayout


def plan(running: Items[Sequence], cache: RowCache, dtype: torch.dtype) -> Step:
    """One token of every answering sequence, which come first, and a stretch of the prompts, less
    what the cache holds of them already."""
    answering = [sequence for sequence in running if sequence.answering]
    count = len(answering)
    tokens = [sequence.tokens[-1] for sequence in answering]
    positions = [sequence.computed for sequence in answering]
    rows = list(range(count))
    lengths = [position + 1 for position in positions]
    wanted = list(rows)
    stretches: list[Stretch] = []
    room = PROMPT_TOKENS
    for row in range(count, len(running)):
        if not room:
            break
        sequence = running[row]
        if not sequence.computed:
            sequence.computed = cache.begin(row, sequence.prompt, sequence.adapter)
        prompt, start = sequence.prompt, sequence.computed
        end = min(len(prompt), start + room)
        room -= end - start
        tokens += prompt[start:end]
        positions += range(start, end)
        rows += [row] * (end - start)
        wanted.append(len(tokens) - 1)
        stretches.append(stretch(row, start, end - start, dtype))
    at = torch.tensor(rows) * cache.length + torch.tensor(positions)
    mask = padding_mask(lengths, dtype)
    layout = StepLayout(cache, at, count, max(lengths, default=0), mask, tuple(stretches))
    return Step(tokens, positions, rows, wanted, layout)
