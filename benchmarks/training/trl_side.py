"""The rival of our training path: TRL's SFTTrainer with PEFT, used as its manual shows."""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, PrinterCallback, TrainerCallback
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from training.learning.sft import ADAPTER, SftSettings, load_tokenizer, lora, weight_type
from training.rows import Row


class _Ticks(TrainerCallback):
    """Calls a function after every step."""

    def __init__(self, tick: Callable[[], None]) -> None:
        self._tick = tick

    def on_log(self, *_: Any, logs: dict[str, float] | None = None, **__: Any) -> None:
        if "loss" in (logs or {}):
            self._tick()


def train_with_trl(
    base: Path,
    rows: Sequence[Row],
    settings: SftSettings,
    folder: Path,
    tick: Callable[[], None],
    *,
    checkpointing: bool,
) -> Path:
    """Train on the answers of `rows` with these settings and leave an adapter in the folder.

    `checkpointing`: of activations, which saves memory and costs time; TRL's default is to.
    """
    on_gpu = torch.cuda.is_available()
    model = AutoModelForCausalLM.from_pretrained(
        str(base), dtype=weight_type(), local_files_only=True
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning)
        arguments = SFTConfig(
            output_dir=str(folder),
            per_device_train_batch_size=settings.batch_size,
            num_train_epochs=settings.epochs,
            learning_rate=settings.learning_rate,
            warmup_steps=settings.warmup,
            max_length=settings.max_length,
            gradient_checkpointing=checkpointing,
            bf16=model.dtype is torch.bfloat16,
            use_cpu=not on_gpu,
            dataloader_pin_memory=on_gpu,
            seed=settings.seed,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        trainer: Any = SFTTrainer(
            model=model,
            args=arguments,
            processing_class=load_tokenizer(base),
            train_dataset=Dataset.from_list([_line(row) for row in rows]),
            peft_config=lora(settings),
            callbacks=[_Ticks(tick)],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    adapter = folder / ADAPTER
    trainer.model.save_pretrained(str(adapter), save_embedding_layers=False)
    return adapter


def _line(row: Row) -> dict[str, Any]:
    """A row in TRL's conversational prompt-completion format: only the completion is learned."""
    return {
        "prompt": row.messages,
        "completion": [{"role": "assistant", "content": row.answer}],
    }
