"""Fine-tuning of a LoRA adapter with TRL and PEFT: on answers, or on preferences between them.

Takes encoded rows and leaves an adapter folder; knows nothing of packs, registries or evaluation.
"""

import json
import shutil
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import torch
from peft import LoraConfig, PeftConfig, PeftModel
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PrinterCallback,
    set_seed,
)
from transformers.utils import logging
from trl.trainer.sft_config import SFTConfig

from adapters.lora import CONFIG
from training.errors import TrainingError
from training.learning.batches import as_dataset, collate
from training.learning.checkpoints import clear, newest
from training.learning.encoding import Encoded
from training.learning.preference import Pair, PairTrainer, as_pairs, collate_pairs
from training.learning.trainer import AnswerTrainer
from training.learning.watch import Trained, Watch
from training.progress import Reporter

# Every linear layer of a Llama block, by the names that vLLM accepts.
TARGET_MODULES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
TARGETS = {"all": TARGET_MODULES, "attention": TARGET_MODULES[:4]}
# Which setting is a method's peak learning rate.
RATES = {"sft": "learning_rate", "dpo": "preference_rate", "kto": "preference_rate"}
ADAPTER = "adapter"
LOG = "log.jsonl"


@dataclass(frozen=True, slots=True)
class SftSettings:
    """Hyper-parameters; defaults by measurement (LOG.md). `minutes` None: no limit.

    Updates are scaled by alpha / rank, with `rslora` by alpha / √rank; `alpha` None makes that 2 at
    rank 16 either way. `preference_rate` and `beta` are for preferences (dpo, kto): the peak
    learning rate, and how dear it is to move away from the model that training began with.
    `quantize`: the frozen base model in 4 bits (QLoRA, arXiv:2305.14314), on CUDA only.
    """

    method: Literal["sft", "dpo", "kto"] = "sft"
    rank: int = 16
    alpha: int | None = None
    rslora: bool = False
    targets: Literal["all", "attention"] = "all"
    quantize: Literal["4bit"] | None = None
    learning_rate: float = 1.5e-3
    preference_rate: float = 1e-4
    beta: float = 0.1
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
    rows: Sequence[Encoded] | Sequence[Pair],
    validation: Sequence[Encoded] | Sequence[Pair],
    settings: SftSettings,
    folder: Path,
    reporter: Reporter,
    *,
    start: Path | None = None,
    resume: bool = False,
) -> Trained:
    """Train an adapter for `base` into `folder`/adapter, with a line a step in `folder`/log.jsonl.

    Rows are pairs for dpo and kto. The adapter kept is that of the epoch with the most validation
    rows right. `start` is an adapter to begin with; `resume` goes on from the folder's newest
    checkpoint, as if it had not been interrupted.

    Raises:
        RunFailed: the loss became infinite or no number.
    """
    # TRL makes the adapter's random start before it sets the trainer's seed.
    set_seed(settings.seed)
    watch = Watch(folder / LOG, len(validation), settings.patience, reporter)
    checkpoint = newest(folder) if resume else None
    with _quiet():
        trainer = _trainer(base, rows, validation, settings, folder, watch, start)
        if checkpoint is not None:
            watch.restore(checkpoint)
        elif trainer.is_world_process_zero():
            clear(folder)
        if not watch.is_over:
            trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    watch.restore_best()
    if trainer.is_world_process_zero():
        _save(trainer.model, folder / ADAPTER, base, settings)
    return watch.summary()


def _trainer(
    base: Path,
    rows: Sequence[Any],
    validation: Sequence[Any],
    settings: SftSettings,
    folder: Path,
    watch: Watch,
    start: Path | None,
) -> AnswerTrainer:
    model = _load(base, settings.quantize)
    tokenizer = load_tokenizer(base)
    on_answers = settings.method == "sft"
    pad = partial(collate if on_answers else collate_pairs, pad=tokenizer.pad_token_id)
    table = as_dataset if on_answers else as_pairs
    kind = AnswerTrainer if on_answers else partial(PairTrainer, settings.method, settings.beta)
    trainer = kind(
        seconds=None if settings.minutes is None else settings.minutes * 60,
        seed=settings.seed,
        keep=watch.save,
        model=model if start is None else _begun(model, start, base),
        args=_arguments(
            settings, folder, bf16=model.dtype is torch.bfloat16, validate=bool(validation)
        ),
        processing_class=tokenizer,
        train_dataset=table(rows),
        eval_dataset=table(validation) if validation else None,
        data_collator=pad,
        peft_config=lora(settings) if start is None else None,
        callbacks=[watch],
    )
    trainer.remove_callback(PrinterCallback)
    watch.follow(trainer)
    return trainer


def _begun(model: Any, start: Path, base: Path) -> PeftModel:
    config = PeftConfig.from_pretrained(str(start))
    config.base_model_name_or_path = str(base)  # PEFT looks there when it saves
    return PeftModel.from_pretrained(model, str(start), config=config, is_trainable=True)


def _load(base: Path, quantize: str | None) -> Any:
    how: dict[str, Any] = {}
    if quantize is not None:
        how["quantization_config"] = BitsAndBytesConfig(  # type: ignore[no-untyped-call]
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
        )
        how["device_map"] = {"": torch.cuda.current_device()}
    return AutoModelForCausalLM.from_pretrained(
        str(base), dtype=weight_type(), local_files_only=True, use_safetensors=True, **how
    )


def check_device(settings: SftSettings) -> None:
    """Raises TrainingError if the settings ask for what this machine cannot do."""
    if settings.quantize is None:
        return
    if not torch.cuda.is_available():
        raise TrainingError(
            "--quantize 4bit needs a CUDA device, and none is visible; leave the option out: on "
            "processors the base model is kept in 16 bits"
        )
    if find_spec("bitsandbytes") is None:
        raise TrainingError("--quantize 4bit needs bitsandbytes: pip install 'turnout[qlora]'")


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
    """Plain LoRA or rsLoRA on linear layers: what vLLM and the embedded engine load."""
    return LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha or (8 if settings.rslora else 32),
        use_rslora=settings.rslora,
        lora_dropout=0.0,
        bias="none",
        target_modules=list(TARGETS[settings.targets]),
        task_type="CAUSAL_LM",
    )


def _arguments(settings: SftSettings, folder: Path, *, bf16: bool, validate: bool) -> SFTConfig:
    on_gpu = torch.cuda.is_available()
    return SFTConfig(
        output_dir=str(folder),
        per_device_train_batch_size=settings.batch_size,
        per_device_eval_batch_size=2 * settings.batch_size,
        num_train_epochs=settings.epochs,
        learning_rate=getattr(settings, RATES[settings.method]),
        warmup_steps=settings.warmup,  # below 1: a share of all steps
        weight_decay=0.0,
        max_grad_norm=1.0,
        bf16=bf16,
        use_cpu=not on_gpu,
        gradient_checkpointing=False,
        eval_strategy="epoch" if validate else "no",
        save_strategy="epoch",
        logging_steps=1,
        report_to="none",
        disable_tqdm=True,
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,
        dataloader_pin_memory=on_gpu,
        prediction_loss_only=True,
        seed=settings.seed,
    )


def _save(model: Any, adapter: Path, base: Path, settings: SftSettings) -> None:
    """Keep only what engines read, and name the base model rather than its path here."""
    shutil.rmtree(adapter, ignore_errors=True)  # of an earlier try
    model.save_pretrained(str(adapter), save_embedding_layers=False)
    (adapter / "README.md").unlink(missing_ok=True)
    config = adapter / CONFIG
    content = json.loads(config.read_text(encoding="utf-8"))
    content["base_model_name_or_path"] = base.name
    # PEFT writes a set, in any order.
    content["target_modules"] = list(TARGETS[settings.targets])
    config.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
