"""What several processes do as one: each takes its share of every batch, and all agree on sums.

Everything here is the identity where there is one process. Knows nothing of who started them.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, distributed, nn


def is_parallel() -> bool:
    """Whether there are other processes."""
    return distributed.is_available() and distributed.is_initialized()


def share(lines: Sequence[Mapping[str, Any]], process: int, processes: int) -> list[dict[str, Any]]:
    """One process's rows of a batch, as many as the others', filled up with rows without an answer.

    Batches of the same size on every process keep them in step; a row that nothing is learned from
    changes no sum.
    """
    part = [dict(line) for line in lines[process::processes]]
    idle = {**lines[0], "answer_at": len(lines[0]["input_ids"])}
    return part + [idle] * (-(-len(lines) // processes) - len(part))


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace every gradient by its mean over the processes."""
    if not is_parallel():
        return
    gradients = [weight.grad for weight in parameters if weight.grad is not None]
    flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
    distributed.all_reduce(flat)
    flat /= distributed.get_world_size()
    means = torch.split(flat, [gradient.numel() for gradient in gradients])
    for gradient, mean in zip(gradients, means, strict=True):
        gradient.copy_(mean.view_as(gradient))


def total(figures: Tensor) -> Tensor:
    """Sums over the processes."""
    if is_parallel():
        distributed.all_reduce(figures)
    return figures


def first(value: float, device: torch.device) -> float:
    """The first process's value, so that what hangs on a clock is the same everywhere."""
    if not is_parallel():
        return value
    shared = torch.tensor(value, dtype=torch.float64, device=device)
    distributed.broadcast(shared, src=0)
    return float(shared)
