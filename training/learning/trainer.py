"""TRL's SFTTrainer, made quick on processors for short answers to long, similar prompts.

Two things cost much time there and change nothing about the gradient: logits at prompt positions,
which no label needs, and computing again for every row what all prompts of a batch begin with. Both
are left out here.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate.data_loader import prepare_data_loader
from datasets import Dataset
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader
from transformers import DynamicCache
from trl.trainer.sft_trainer import SFTTrainer

from training.learning.batches import Batches, as_row
from training.learning.checkpoints import admit, aside
from training.learning.encoding import IGNORED
from training.learning.parallel import average_gradients, first, share, total
from training.learning.retention import compared, divergence


class AnswerTrainer(SFTTrainer):
    """SFTTrainer on `Encoded` rows, whose learning rate ends with the steps or with the time.

    A batch is the same however many processes share it. `keep` adds to each checkpoint's folder
    what is to be remembered beside the trainer's own state.
    """

    def __init__(
        self,
        *,
        seconds: float | None,
        seed: int,
        keep: Callable[[Path], None] = lambda folder: None,
        **arguments: Any,
    ) -> None:
        self.seconds, self._order_seed, self._keep = seconds, seed, keep
        self._started = time.monotonic()
        self.rows_seen = 0
        self.tokens_seen = 0
        self._validated, self._exact = 0, 0
        super().__init__(**arguments)

    @property
    def elapsed(self) -> float:
        """Seconds since training began."""
        return time.monotonic() - self._started

    def start_clock(self, spent: float = 0.0) -> None:
        """Count the time budget from now, of which so many seconds are spent."""
        self._started = time.monotonic() - spent

    def take_exact_share(self) -> float:
        """Share of validated rows that were right, since the last call: whose every answer token is
        the likeliest.

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
            collate_fn=self._collate,
        )
        # `_collate` deals out rows; by itself, accelerate would deal out whole batches.
        prepared: DataLoader[Any] = prepare_data_loader(
            loader, self.accelerator.device, num_processes=1, process_index=0, put_on_device=True
        )
        return prepared

    def _collate(self, lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """This process's share of a batch, with the rows and tokens of the whole."""
        part = share(lines, self.accelerator.process_index, self.accelerator.num_processes)
        lengths = [len(line["input_ids"]) for line in lines]
        whole = {
            "rows": len(lines),
            "tokens": sum(lengths),
            "compared": sum(map(compared, lengths)),
        }
        return self.data_collator(part) | whole

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """None: TRL writes one beside every checkpoint."""

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Write it aside, and move it into its place when it is whole."""
        super()._save_checkpoint(model, trial)  # type: ignore[no-untyped-call]
        name, folder = f"checkpoint-{self.state.global_step}", Path(str(self.args.output_dir))
        self.accelerator.wait_for_everyone()
        if self.is_world_process_zero():
            self._keep(aside(folder) / name)
            admit(folder, name)
        self.accelerator.wait_for_everyone()

    def _get_output_dir(self, trial: Any) -> str:
        return str(aside(Path(str(self.args.output_dir))))

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> LambdaLR:
        """Linear warm-up and linear decay to zero, over the steps or the time budget.

        The clock moves the rate, so that the decay is complete when the time is, however busy the
        machine.
        """
        warmup = max(1, self.args.get_warmup_steps(num_training_steps))

        def rate(step: int) -> float:
            done = step / max(1, num_training_steps)
            if self.seconds is not None:
                spent = self.elapsed / max(self.seconds, 1e-9)
                done = max(done, first(spent, self.accelerator.device))
            return float(min((step + 1) / warmup, 1.0) * max(0.0, 1.0 - done))

        self.lr_scheduler = LambdaLR(optimizer or self.optimizer, rate)  # type: ignore[arg-type]  # made before
        return self.lr_scheduler

    def training_step(self, model: nn.Module, *arguments: Any, **named: Any) -> Tensor:
        """Forward and backward, with the gradients of all processes.

        The loss goes past the forward of the wrapped model, where DistributedDataParallel would
        begin to exchange them.
        """
        loss: Tensor = super().training_step(model, *arguments, **named)  # type: ignore[no-untyped-call]
        average_gradients(model.parameters())
        return loss

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Mean negative log-likelihood of the answer tokens, or of held rows the mean divergence
        from the base model; while training, this process's part of it times the number of
        processes, as their mean is taken."""
        labels = inputs["labels"]
        adapted = self.accelerator.unwrap_model(model)
        processes = self.accelerator.num_processes
        with torch.autocast(labels.device.type, torch.bfloat16, enabled=self.args.bf16):
            if model.training and inputs["held"]:
                self._count(inputs)
                return divergence(adapted, inputs) * processes / inputs["compared"]
            logits, expected = answer_logits(adapted.get_base_model(), inputs)
        loss = cross_entropy(logits.float(), expected, reduction="sum")
        if not model.training:
            rows = answer_rows(labels)
            asked, wrong = torch.unique(rows), torch.unique(rows[logits.argmax(-1) != expected])
            right = asked.numel() - wrong.numel()
            return self._validated_loss(loss, expected.numel(), right, asked.numel())
        self._count(inputs)
        tokens = expected.numel() if num_items_in_batch is None else num_items_in_batch
        return loss * processes / tokens

    def _count(self, inputs: Mapping[str, Any]) -> None:
        self.rows_seen += inputs["rows"]
        self.tokens_seen += inputs["tokens"]

    def _validated_loss(self, loss: Tensor, terms: int, right: int, asked: int) -> Tensor:
        """Count the rows that are right; the mean of the `terms` that the loss is the sum of, on
        all processes."""
        counts = [loss.item(), terms, right, asked]
        figures = total(torch.tensor(counts, dtype=torch.float64, device=loss.device))
        self._validated += int(figures[3])
        self._exact += int(figures[2])
        return figures[0] / figures[1]


def answer_rows(labels: Tensor) -> Tensor:
    """The row of each position that has a label, in the order of `answer_logits`."""
    return (labels[:, 1:] != IGNORED).nonzero()[:, 0]


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
