"""Full fine-tuning, the yardstick for LoRA: the same batches, loss, schedule and choice of the
epoch, but every weight learns."""

from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import LambdaLR
from transformers import AutoModelForCausalLM, PreTrainedModel, set_seed

from training.learning.batches import Batches, as_dataset, collate
from training.learning.encoding import Encoded
from training.learning.sft import SftSettings, load_tokenizer, weight_type
from training.learning.trainer import answer_logits
from training.progress import Reporter


def train_fully(
    base: Path,
    rows: Sequence[Encoded],
    validation: Sequence[Encoded],
    settings: SftSettings,
    folder: Path,
    reporter: Reporter,
) -> float:
    """Leave a model in the folder, of the epoch with the most validation rows exactly right;
    returns their share.

    Weights learn in float32 and multiply in bfloat16 where that is quick, as those of LoRA do.
    """
    set_seed(settings.seed)
    tokenizer = load_tokenizer(base)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model: Any = AutoModelForCausalLM.from_pretrained(
        str(base), dtype=torch.float32, local_files_only=True
    )
    model.to(device)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=settings.learning_rate, weight_decay=0.0, fused=True
    )
    batches = Batches(rows, settings.batch_size, settings.seed)
    steps = len(batches) * settings.epochs
    schedule = LambdaLR(optimizer, _warmed_up(settings.warmup * steps, steps))
    lines, done, best = list(as_dataset(rows)), 0, -1.0
    for epoch in range(settings.epochs):
        batches.set_epoch(epoch)
        for batch in batches:
            loss = _loss(model, [lines[index] for index in batch], tokenizer.pad_token_id)
            loss.backward()  # type: ignore[no-untyped-call]  # torch's own
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            done += 1
            reporter.advance(done, steps, {"loss": loss.item()})
        exact = _exact(model, validation, settings.batch_size, tokenizer.pad_token_id)
        if exact > best:
            best = exact
            _save(model, folder)
    tokenizer.save_pretrained(str(folder))
    return best


def _warmed_up(warmup: float, steps: int) -> Callable[[int], float]:
    """Linear warm-up and linear decay to zero, as in AnswerTrainer."""
    return lambda step: min((step + 1) / max(1.0, warmup), 1.0) * (1.0 - step / steps)


def _loss(model: PreTrainedModel, lines: Sequence[Mapping[str, Any]], pad: int) -> torch.Tensor:
    logits, expected = _logits(model, lines, pad)
    return cross_entropy(logits.float(), expected)


@torch.no_grad()
def _exact(model: PreTrainedModel, rows: Sequence[Encoded], batch_size: int, pad: int) -> float:
    """Share of rows whose every answer token is the likeliest given the true ones before it."""
    lines, right = list(as_dataset(rows)), 0
    for batch in Batches(rows, batch_size, 0):
        some = [lines[index] for index in batch]
        logits, expected = _logits(model, some, pad)
        hits = iter((logits.argmax(-1) == expected).tolist())
        for line in some:
            answer = len(line["input_ids"]) - line["answer_at"]
            right += all(list(islice(hits, answer)))
    return right / max(1, len(rows))


def _logits(
    model: PreTrainedModel, lines: Sequence[Mapping[str, Any]], pad: int
) -> tuple[torch.Tensor, torch.Tensor]:
    inputs = {
        name: value.to(model.device) if isinstance(value, torch.Tensor) else value
        for name, value in collate(lines, pad).items()
    }
    half = weight_type() is torch.bfloat16
    with torch.autocast(model.device.type, torch.bfloat16, enabled=half):
        return answer_logits(model, inputs)


def _save(model: PreTrainedModel, folder: Path) -> None:
    """As the base is kept, so that it is asked with the same number type."""
    half = {name: weight.to(weight_type()) for name, weight in model.state_dict().items()}
    model.save_pretrained(str(folder), state_dict=half)
