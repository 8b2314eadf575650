"""Supervised fine-tuning of a LoRA adapter with TRL and PEFT.

Takes encoded rows and leaves an adapter folder; knows nothing of packs, registries or evaluation.
"""

import json
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback, set_seed
from transformers.utils import logging
from trl.trainer.sft_config import SFTConfig

from adapters.lora import CONFIG
from training.learning.encoding import Encoded
from training.learning.trainer import AnswerTrainer, as_dataset, collate
from training.learning.watch import Trained, Watch
from training.progress import Reporter

# Every linear layer of a Llama block, by the names that vLLM accepts.
TARGET_MODULES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
ADAPTER = "adapter"
LOG = "log.jsonl"


@dataclass(frozen=True, slots=True)
class SftSettings:
    """Hyper-parameters; defaults by measurement (LOG.md). `minutes` None: no limit."""

    method: Literal["sft"] = "sft"
    rank: int = 16
    alpha: int = 32
    rslora: bool = False
    learning_rate: float = 1.5e-3
    batch_size: int = 8
    epochs: int = 5
    patience: int = 2
    minutes: float | None = None
    max_length: int = 512
    warmup: float = 0.05
    seed: int = 0


def load_tokenizer(base: Path) -> Any:
    """The base model's tokenizer, from its folder and nowhere else."""
    return AutoTokenizer.from_pretrained(str(base), local_files_only=True)


def train(
    base: Path,
    rows: Sequence[Encoded],
    validation: Sequence[Encoded],
    settings: SftSettings,
    folder: Path,
    reporter: Reporter,
) -> Trained:
    """Train an adapter for `base` into `folder`/adapter, with a line a step in `folder`/log.jsonl.

    The adapter kept is that of the epoch with the most validation rows exactly right.

    Raises:
        RunFailed: the loss became infinite or no number.
    """
    # TRL makes the adapter's random start before it sets the trainer's seed.
    set_seed(settings.seed)
    watch = Watch(folder / LOG, len(validation), settings.patience, reporter)
    with _quiet():
        trainer = _trainer(base, rows, validation, settings, folder, watch)
        result = trainer.train()
    watch.restore_best()
    _save(trainer.model, folder / ADAPTER, base)
    return watch.summary(float(result.training_loss))


def _trainer(
    base: Path,
    rows: Sequence[Encoded],
    validation: Sequence[Encoded],
    settings: SftSettings,
    folder: Path,
    watch: Watch,
) -> AnswerTrainer:
    model = AutoModelForCausalLM.from_pretrained(
        str(base), dtype=weight_type(), local_files_only=True, use_safetensors=True
    )
    tokenizer = load_tokenizer(base)
    trainer = AnswerTrainer(
        seconds=None if settings.minutes is None else settings.minutes * 60,
        seed=settings.seed,
        model=model,
        args=_arguments(
            settings, folder, bf16=model.dtype is torch.bfloat16, validate=bool(validation)
        ),
        processing_class=tokenizer,
        train_dataset=as_dataset(rows),
        eval_dataset=as_dataset(validation) if validation else None,
        data_collator=partial(collate, pad=tokenizer.pad_token_id),
        peft_config=lora(settings),
        callbacks=[watch],
    )
    trainer.remove_callback(PrinterCallback)
    watch.follow(trainer)
    return trainer


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' own progress bars, and its warnings about options that TRL sets."""
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=FutureWarning)
            yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def weight_type() -> torch.dtype:
    """bfloat16 where it is quick: on an accelerator, and on processors with instructions for it."""
    if torch.cuda.is_available() or torch.cpu._is_avx512_bf16_supported():
        return torch.bfloat16
    return torch.float32


def lora(settings: SftSettings) -> LoraConfig:
    """Plain LoRA or rsLoRA on all linear layers: what vLLM and the embedded engine load."""
    return LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        use_rslora=settings.rslora,
        lora_dropout=0.0,
        bias="none",
        target_modules=list(TARGET_MODULES),
        task_type="CAUSAL_LM",
    )


def _arguments(settings: SftSettings, folder: Path, *, bf16: bool, validate: bool) -> SFTConfig:
    on_gpu = torch.cuda.is_available()
    return SFTConfig(
        output_dir=str(folder),
        per_device_train_batch_size=settings.batch_size,
        per_device_eval_batch_size=2 * settings.batch_size,
        num_train_epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        warmup_steps=settings.warmup,  # below 1: a share of all steps
        weight_decay=0.0,
        max_grad_norm=1.0,
        bf16=bf16,
        use_cpu=not on_gpu,
        gradient_checkpointing=False,
        eval_strategy="epoch" if validate else "no",
        save_strategy="no",
        logging_steps=1,
        report_to="none",
        disable_tqdm=True,
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,
        dataloader_pin_memory=on_gpu,
        prediction_loss_only=True,
        seed=settings.seed,
    )


def _save(model: Any, adapter: Path, base: Path) -> None:
    """Keep only what engines read, and name the base model rather than its path here."""
    model.save_pretrained(str(adapter), save_embedding_layers=False)
    (adapter / "README.md").unlink(missing_ok=True)
    config = adapter / CONFIG
    content = json.loads(config.read_text(encoding="utf-8"))
    content["base_model_name_or_path"] = base.name
    content["target_modules"] = list(TARGET_MODULES)  # PEFT writes a set, in any order
    config.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
