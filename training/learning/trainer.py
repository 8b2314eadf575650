"""TRL's SFTTrainer, made quick on processors for short answers to long, similar prompts.

Two things cost much time there and change nothing about the gradient: logits at prompt positions,
which no label needs, and computing again for every row what all prompts of a batch begin with. Both
are left out here.
"""

import random
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, Sampler
from transformers import DynamicCache
from trl.trainer.sft_trainer import SFTTrainer

from training.learning.encoding import IGNORED, Encoded

# A shorter shared beginning is not worth a forward pass of its own.
SHORTEST_SHARED_PREFIX = 16
# Rows are sorted by length within so many batches: little padding, yet a new mixture each epoch.
_WINDOW = 32


class Batches(Sampler[list[int]]):
    """Row indices in batches that begin alike and have similar lengths, each epoch reshuffled."""

    def __init__(self, rows: Sequence[Encoded], batch_size: int, seed: int) -> None:
        self._rows, self._batch_size, self._seed = rows, batch_size, seed
        self._groups: dict[tuple[int, ...], list[int]] = {}
        for index, row in enumerate(rows):
            self._groups.setdefault(row.input_ids[:SHORTEST_SHARED_PREFIX], []).append(index)
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
        }
    )


def as_row(line: Mapping[str, Any]) -> Encoded:
    """A line of `as_dataset` as a row again."""
    return Encoded(tuple(line["input_ids"]), line["answer_at"])


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
    }


def shared_prefix(rows: Sequence[Encoded]) -> int:
    """How many prompt tokens all rows begin with, leaving each at least one; 0 if few."""
    longest = min(row.answer_at for row in rows) - 1
    first = rows[0].input_ids[:longest]
    for row in rows[1:]:
        while row.input_ids[: len(first)] != first:
            first = first[:-1]
    return len(first) if len(rows) > 1 and len(first) >= SHORTEST_SHARED_PREFIX else 0


class AnswerTrainer(SFTTrainer):
    """SFTTrainer on `Encoded` rows, whose learning rate ends with the steps or with the time."""

    def __init__(self, *, seconds: float | None, seed: int, **arguments: Any) -> None:
        self.seconds, self._order_seed = seconds, seed
        self._started = time.monotonic()
        self.rows_seen = 0
        self.tokens_seen = 0
        self._validated, self._exact = 0, 0
        super().__init__(**arguments)

    @property
    def elapsed(self) -> float:
        """Seconds since training began."""
        return time.monotonic() - self._started

    def start_clock(self) -> None:
        """Count the time budget from now."""
        self._started = time.monotonic()

    def take_exact_share(self) -> float:
        """Share of validated rows whose every answer token is the likeliest, since the last call.

        That is what greedy decoding would get right, without the cost of decoding.
        """
        share = self._exact / max(1, self._validated)
        self._validated, self._exact = 0, 0
        return share

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Batches of rows that begin alike."""
        return self._loader(self.train_dataset, self.args.train_batch_size)

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader[Any]:
        """The validation rows, batched the same way."""
        rows = self.eval_dataset if eval_dataset is None else eval_dataset
        return self._loader(rows, self.args.eval_batch_size)

    def _loader(self, rows: Dataset, batch_size: int) -> DataLoader[Any]:
        batches = Batches([as_row(line) for line in rows], batch_size, self._order_seed)
        loader: DataLoader[Any] = DataLoader(
            rows,
            batch_sampler=batches,
            collate_fn=self.data_collator,
        )
        prepared: DataLoader[Any] = self.accelerator.prepare(loader)
        return prepared

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> LambdaLR:
        """Linear warm-up and linear decay to zero, over the steps or the time budget.

        The clock moves the rate, so that the decay is complete when the time is, however busy the
        machine.
        """
        warmup = max(1, self.args.get_warmup_steps(num_training_steps))

        def rate(step: int) -> float:
            done = step / max(1, num_training_steps)
            if self.seconds is not None:
                done = max(done, self.elapsed / max(self.seconds, 1e-9))
            return float(min((step + 1) / warmup, 1.0) * max(0.0, 1.0 - done))

        self.lr_scheduler = LambdaLR(optimizer or self.optimizer, rate)  # type: ignore[arg-type]  # made before
        return self.lr_scheduler

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Mean negative log-likelihood of the answer tokens."""
        if self.accelerator.num_processes > 1:
            # Only the wrapped model's own forward exchanges gradients: TRL's loss goes through it.
            plain = {name: value for name, value in inputs.items() if name != "shared"}
            return super().compute_loss(model, plain, return_outputs, num_items_in_batch)  # type: ignore[no-untyped-call]
        labels = inputs["labels"]
        if model.training:
            self.rows_seen += labels.size(0)
            self.tokens_seen += int(inputs["attention_mask"].sum())
        base = self.accelerator.unwrap_model(model).get_base_model()
        with torch.autocast(labels.device.type, torch.bfloat16, enabled=self.args.bf16):
            logits, expected = answer_logits(base, inputs)
        if not model.training:
            rows = (labels[:, 1:] != IGNORED).nonzero()[:, 0]
            wrong = rows[logits.argmax(-1) != expected].unique()
            self._validated += labels.size(0)
            self._exact += labels.size(0) - wrong.numel()
        total = cross_entropy(logits.float(), expected, reduction="sum")
        return total / (expected.numel() if num_items_in_batch is None else num_items_in_batch)


def answer_logits(model: Any, inputs: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """Logits `[n, vocabulary]` at the n positions that have a label, and the labels `[n]`.

    A prefix shared by all rows is computed for one of them; its keys and values, gradients
    included, serve all.
    """
    ids, labels, mask = inputs["input_ids"], inputs["labels"], inputs["attention_mask"]
    shared = inputs["shared"]
    if shared:
        cache = DynamicCache()
        model.base_model(input_ids=ids[:1, :shared], past_key_values=cache, use_cache=True)
        cache.batch_repeat_interleave(ids.size(0))
        out = model.base_model(
            input_ids=ids[:, shared:], attention_mask=mask, past_key_values=cache, use_cache=True
        )
    else:
        # Padding is at the end, where causal attention never looks: no mask, a quicker kernel.
        out = model.base_model(input_ids=ids, use_cache=False)
    targets = labels[:, shared + 1 :]
    wanted = targets != IGNORED
    hidden = out.last_hidden_state[:, :-1][wanted]
    return model.get_output_embeddings()(hidden), targets[wanted]
