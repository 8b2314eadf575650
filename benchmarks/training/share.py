"""How the share phase is measured: LoRA on under a hundredth of the weights beside full
fine-tuning, each with a learning rate of its own, chosen on validation rows. Models are kept."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from math import prod
from pathlib import Path
from random import Random
from time import monotonic
from typing import Any

import click
from safetensors import safe_open

from adapters.lora import WEIGHTS
from benchmarks.training.domains import DOMAINS, Domain, parts, write_rows
from benchmarks.training.forgetting import Kept, Method, Shared, Student
from benchmarks.training.full import train_fully
from benchmarks.training.plan import Plan
from training.curation.split import Split
from training.evaluation.evaluate import Evaluation, evaluate
from training.evaluation.inprocess import BASE, InProcess
from training.evaluation.kept_answers import KeptAnswers, model_digest
from training.evaluation.likelihood import Likelihood
from training.evaluation.sampling import sample
from training.facts import learned_from
from training.learning.encoding import Encoded, encode_all
from training.learning.sft import ADAPTER, SftSettings, load_tokenizer, train
from training.progress import Reporter
from training.rows import Row, read_chat

TASKS = ("finance", "medical")  # one task each, with short rows
CAPABILITIES = ("gsm8k", "instruction", "natural_qa")
EPOCHS = 3
MIXED_IN = 100  # general rows of each capability
RATES = {Method.LORA: (1e-3, 2e-3, 4e-3, 8e-3), Method.FULL: (3e-5, 1e-4, 3e-4, 1e-3)}
_LORA = SftSettings(rank=4, alpha=8)
_WEIGHTS = "model.safetensors"
_FINISHED = "trained.json"


def measure_share(plan: Plan, reporter: Reporter) -> list[Shared]:
    """Both tasks, one after the other."""
    general = {}
    mixed_in = min(MIXED_IN, plan.rows or MIXED_IN)
    for part, most in (("train", mixed_in), ("eval", plan.rows)):
        general[part] = plan.work / "packs" / f"general-{part}.jsonl"
        general[part].parent.mkdir(parents=True, exist_ok=True)
        file = plan.data / "general" / f"{part}.jsonl"
        write_rows(file, general[part], CAPABILITIES, most)
    tasks = [domain for domain in DOMAINS if domain.name in TASKS and domain.name in plan.names]
    if not tasks:
        raise click.UsageError(f"the share phase needs {' or '.join(TASKS)} among --domains")
    tokenizer = load_tokenizer(plan.base)
    return [_Task(domain, plan, general, tokenizer, reporter).measure() for domain in tasks]


@dataclass(frozen=True, slots=True)
class _Task:
    """One domain's task, `general` rows by part beside it."""

    domain: Domain
    plan: Plan
    general: dict[str, Path]
    tokenizer: Any
    reporter: Reporter

    def measure(self) -> Shared:
        pack = self.domain.write_pack(self.plan.data, self.plan.work / "packs", self.plan.rows)
        guarded = (self.general["eval"],)
        self._say("curate")
        pieces = {
            mixed: parts(
                self.domain.name, (pack,), self.general["train"] if mixed else None, guarded
            )
            for mixed in (False, True)
        }
        searched = {method: self._search(method, pieces[False]) for method in Method}
        test = pieces[False].test
        asked = read_chat(self.general["eval"])
        before = self._examined(BASE, None, None, test, asked)
        students = []
        for mixed, split in pieces.items():
            for method in Method:
                rate = max(RATES[method], key=lambda one: searched[method][f"{one:g}"])
                name = f"{method.name.lower()}-{'mixed' if mixed else 'alone'}"
                folder = self._folder / name
                self._say(f"train {name}")
                epochs = self.plan.epochs or EPOCHS
                found = self._train(method, split, folder, rate, epochs)
                model = folder if method is Method.FULL else None
                adapter = folder / ADAPTER if method is Method.LORA else None
                task, kept = self._examined(name, model, adapter, test, asked)
                students.append(Student(method, mixed, rate, found["seconds"], task, kept))
        adapted = self._folder / "lora-alone" / ADAPTER / WEIGHTS
        return Shared(
            task=self.domain.tasks[0],
            share=_count(adapted) / _count(self.plan.base / _WEIGHTS),
            base=before[0],
            before=before[1],
            students=tuple(students),
            searched=searched,
        )

    @property
    def _folder(self) -> Path:
        return self.plan.work / "share" / self.domain.name

    def _say(self, what: str) -> None:
        self.reporter.stage(f"{self.domain.name}: {what}")

    def _search(self, method: Method, pieces: Split) -> dict[str, float]:
        """Validation rows exactly right after one pass over some training rows, by rate."""
        most = min(self.plan.search_rows, len(pieces.train))
        some = replace(pieces, train=tuple(Random(0).sample(pieces.train, most)))
        found = {}
        for rate in RATES[method]:
            self._say(f"search a rate for {method}: {rate:g}")
            folder = self._folder / "search" / f"{method.name.lower()}-{rate:g}"
            found[f"{rate:g}"] = self._train(method, some, folder, rate, 1)["exact"]
            (folder / _WEIGHTS).unlink(missing_ok=True)
        return found

    def _train(
        self, method: Method, pieces: Split, folder: Path, rate: float, epochs: int
    ) -> dict[str, Any]:
        """Train into the folder, unless that was done before; its seconds and exact rows."""
        finished = folder / _FINISHED
        settings = replace(_LORA, learning_rate=rate, epochs=epochs)
        asked = asdict(settings) | learned_from(pieces)
        if finished.is_file() and (kept := json.loads(finished.read_bytes()))["asked"] == asked:
            return dict(kept)
        folder.mkdir(parents=True, exist_ok=True)
        rows, validation = self._encoded(pieces.train), self._encoded(pieces.validation)
        began = monotonic()
        fit = train_fully if method is Method.FULL else _train_lora
        exact = fit(self.plan.base, rows, validation, settings, folder, self.reporter)
        found = {"asked": asked, "exact": exact, "seconds": monotonic() - began}
        finished.write_text(json.dumps(found), encoding="utf-8")
        return found

    def _encoded(self, rows: Sequence[Row]) -> list[Encoded]:
        return encode_all(rows, self.tokenizer, _LORA.max_length)[0]

    def _examined(
        self,
        name: str,
        model: Path | None,
        adapter: Path | None,
        test: Sequence[Row],
        general: Sequence[Row],
    ) -> tuple[Evaluation, Kept]:
        """A model, or the base with or without an adapter, on the task and on the rest."""
        models = InProcess(model or self.plan.base)
        if adapter is not None:
            models.load(name, adapter)
        folders = (model or self.plan.base, *([adapter] if adapter else []))
        asked = BASE if adapter is None else name
        kept = KeptAnswers(self.plan.work / "answers" / f"share-{self.domain.name}.jsonl")
        answers = kept.by(model_digest(*folders), models.answers(asked))
        self._say(f"ask {name}")
        task = evaluate(name, test, answers, self._advance)
        self._say(f"ask {name} what it knew")
        some = sample(general, self.plan.general_rows, 0)
        scores = evaluate(name, some, answers, self._advance)
        losses = models.losses(asked, general, self._advance)
        by_name = {
            capability: Likelihood(
                tuple(
                    loss
                    for row, loss in zip(general, losses, strict=True)
                    if row.task == capability
                )
            )
            for capability in scores.tasks
        }
        return task, Kept(scores, by_name)

    def _advance(self, done: int, total: int) -> None:
        self.reporter.advance(done, total, {})


def _train_lora(
    base: Path,
    rows: Sequence[Encoded],
    validation: Sequence[Encoded],
    settings: SftSettings,
    folder: Path,
    reporter: Reporter,
) -> float:
    return train(base, rows, validation, settings, folder, reporter).validation_exact or 0.0


def _count(file: Path) -> int:
    """Weights in a safetensors file."""
    with safe_open(str(file), "numpy") as tensors:
        return sum(prod(tensors.get_slice(name).get_shape()) for name in tensors.keys())
