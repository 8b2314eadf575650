"""Training on which of two answers is better (DPO), or on whether one is good (KTO).

The losses are TRL's; the trainer is the one for answers, for its speed: it scores answer tokens
only, where TRL's own score every position of every prompt.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, logsigmoid

from training.learning.batches import Batches, as_row, collate
from training.learning.encoding import IGNORED, Encoded, encode
from training.learning.parallel import total
from training.learning.trainer import AnswerTrainer, answer_logits, answer_rows
from training.rows import Row


@dataclass(frozen=True, slots=True)
class Pair:
    """Two answers to one prompt: the better and the worse. For KTO the judged one and another row's
    answer, which tells how far the model has moved altogether; `weight` evens out rare verdicts."""

    first: Encoded
    second: Encoded
    desirable: bool = True
    weight: float = 1.0


def encode_preferences(rows: Sequence[Row], tokenizer: Any, max_length: int) -> list[Pair]:
    """Preference rows as pairs, without those too long for the model."""
    pairs = []
    for row in rows:
        better = encode(row, tokenizer, max_length)
        worse = encode(replace(row, answer=row.rejected or ""), tokenizer, max_length)
        if better is not None and worse is not None:
            pairs.append(Pair(better, worse))
    return pairs


def encode_verdicts(rows: Sequence[Row], tokenizer: Any, max_length: int) -> list[Pair]:
    """KTO rows as pairs with the row before, without those too long for the model.

    The rarer verdict weighs more, so that both weigh the same together: within the bounds of
    equation 9 of arXiv:2402.01306.
    """
    good = sum(bool(row.desirable) for row in rows)
    bad = len(rows) - good
    often = max(good, bad)
    pairs = []
    for row, other in zip(rows, (*rows[-1:], *rows[:-1]), strict=True):
        own = encode(row, tokenizer, max_length)
        swapped = encode(replace(row, answer=other.answer), tokenizer, max_length)
        if own is not None and swapped is not None:
            weight = often / (good if row.desirable else bad)
            pairs.append(Pair(own, swapped, bool(row.desirable), weight))
    return pairs


def as_pairs(pairs: Sequence[Pair]) -> Dataset:
    """Pairs in the container that TRL asks for; `collate_pairs` reads its lines."""
    return Dataset.from_dict(
        {
            "input_ids": [list(pair.first.input_ids) for pair in pairs],
            "answer_at": [pair.first.answer_at for pair in pairs],
            "other_ids": [list(pair.second.input_ids) for pair in pairs],
            "other_at": [pair.second.answer_at for pair in pairs],
            "desirable": [pair.desirable for pair in pairs],
            "weight": [pair.weight for pair in pairs],
        }
    )


def collate_pairs(lines: Sequence[Mapping[str, Any]], pad: int) -> dict[str, Any]:
    """`collate` of all first answers and then all second ones, with what is known of each pair."""
    others = [{"input_ids": line["other_ids"], "answer_at": line["other_at"]} for line in lines]
    facts = {
        "desirable": torch.tensor([line["desirable"] for line in lines]),
        "weight": torch.tensor([line["weight"] for line in lines]),
    }
    if "reference" in lines[0]:
        facts["reference"] = torch.tensor([line["reference"] for line in lines]).T.flatten()
    return collate([*lines, *others], pad) | facts


class PairTrainer(AnswerTrainer):
    """AnswerTrainer on `Pair` rows.

    What the model it begins with makes of them is the reference, computed once.
    """

    def __init__(self, method: str, beta: float, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._objective: Callable[..., tuple[Tensor, Tensor]] = {"dpo": dpo, "kto": kto}[method]
        self._beta = beta
        self.train_dataset = self._with_reference(self.train_dataset)
        if self.eval_dataset is not None:
            self.eval_dataset = self._with_reference(self.eval_dataset)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Mean loss of the pairs; while training, this process's part of it times the number of
        processes, as their mean is taken."""
        gains = self._log_probs(model, inputs) - inputs["reference"]
        first, second = gains.chunk(2)
        real = (inputs["labels"] != IGNORED).any(1).chunk(2)[0]  # the rest only fill up a batch
        losses, right = self._objective(first, second, inputs["desirable"], self._beta, real)
        loss = (losses * inputs["weight"])[real].sum()
        if not model.training:
            asked = int(real.sum())
            return self._validated_loss(loss, asked, int(right[real].sum()), asked)
        self._count(inputs)
        return loss * self.accelerator.num_processes / inputs["rows"]

    def _length(self, line: Mapping[str, Any]) -> int:
        return len(line["input_ids"]) + len(line["other_ids"])

    def _log_probs(self, model: nn.Module, inputs: dict[str, Any]) -> Tensor:
        """Log-probability of each answer as a whole, `[2 * pairs]`."""
        base = self.accelerator.unwrap_model(model).get_base_model()
        labels = inputs["labels"]
        with torch.autocast(labels.device.type, torch.bfloat16, enabled=self.args.bf16):
            logits, expected = answer_logits(base, inputs)
        scores = -cross_entropy(logits.float(), expected, reduction="none")
        return scores.new_zeros(len(labels)).index_add(0, answer_rows(labels), scores)

    @torch.no_grad()
    def _with_reference(self, rows: Dataset) -> Dataset:
        model = self.accelerator.unwrap_model(self.model).eval()
        found = torch.zeros(len(rows), 2)
        lines = list(rows)
        for batch in Batches([as_row(line) for line in lines], self.args.eval_batch_size, seed=0):
            inputs = self._prepare_inputs(self.data_collator([lines[index] for index in batch]))
            found[batch] = self._log_probs(model, inputs).cpu().view(2, -1).T
        return rows.add_column("reference", found.tolist())


def dpo(
    better: Tensor, worse: Tensor, desirable: Tensor, beta: float, real: Tensor
) -> tuple[Tensor, Tensor]:
    """Equation 7 of arXiv:2305.18290, and which pairs are right: gained more by the better answer.

    Arguments are gains of log-probability over the reference, `[pairs]`.
    """
    margin = better - worse
    return -logsigmoid(beta * margin), margin > 0


def kto(
    judged: Tensor, other: Tensor, desirable: Tensor, beta: float, real: Tensor
) -> tuple[Tensor, Tensor]:
    """Equation 8 of arXiv:2402.01306, and which rows are right: moved where their verdict says.

    What other rows' answers gain on the whole is the point from which a gain counts.
    """
    moved = total(torch.stack([other[real].detach().sum(), real.sum().to(other)]))
    zero = (moved[0] / moved[1]).clamp(min=0)
    gain = torch.where(desirable, judged - zero, zero - judged)
    return 1 - torch.sigmoid(beta * gain), gain > 0
