"""A training run from examples to a registered version, in the order it happens.

What a run reads, does and decides is left in its folder; one that dies registers nothing.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from adapters.manifest import Manifest, Metric, TrainingFacts, config_hash
from adapters.registry import Aliases, Registry
from adapters.store import Store
from training.curate import Dataset, curate, digest
from training.dataset import Split, encode_all, leaked, split
from training.errors import TooFewRows
from training.evaluate import Evaluation, evaluate
from training.gate import Judgement, Verdict, judge
from training.inprocess import BASE, InProcess
from training.progress import Reporter
from training.sft import ADAPTER, TARGET_MODULES, SftSettings, load_tokenizer, train
from training.sources import gather
from training.watch import Trained

CANDIDATE = "candidate"
ACTOR = "turnout train"


@dataclass(frozen=True, slots=True)
class Job:
    """What to train, from what, where to leave traces. `data` replaces the pack's train.jsonl."""

    domain: str
    base_model: Path
    folder: Path
    packs: tuple[Path, ...] = ()
    data: Path | None = None
    from_log: bool = False
    promote: bool = False
    threads: int | None = None
    settings: SftSettings = SftSettings()

    def as_json(self) -> dict[str, Any]:
        """The arguments, as they are kept beside the results."""
        values = asdict(self)
        values |= {"base_model": str(self.base_model), "folder": str(self.folder)}
        values |= {"packs": [str(pack) for pack in self.packs], "data": str(self.data or "")}
        return values


@dataclass(frozen=True, slots=True)
class Result:
    """What a run came to."""

    manifest: Manifest
    trained: Trained
    dataset: Dataset
    candidate: Evaluation
    rivals: tuple[Evaluation, ...]
    judgement: Judgement
    promoted: bool

    def as_json(self) -> dict[str, Any]:
        """The document of `turnout train --json`."""
        return {
            "version": self.manifest.version,
            "domain": self.manifest.domain,
            "verdict": str(self.judgement.verdict),
            "reason": self.judgement.reason,
            "promoted": self.promoted,
            "evaluation": self.candidate.as_json(self.rivals)
            | {"tasks_against": {r.model: _by_task(self.candidate, r) for r in self.rivals}},
            "training": asdict(self.trained),
            "dataset": {"digest": self.dataset.digest, **self.dataset.counts},
        }


def run(job: Job, store: Store, registry: Registry, reporter: Reporter) -> Result:
    """Curate, split, train, evaluate, publish, move the aliases.

    The version becomes its domain's challenger if the gate passes it, and champion if the job
    says so too.
    """
    if job.threads is not None:
        torch.set_num_threads(job.threads)
    job.folder.mkdir(parents=True, exist_ok=True)
    _write(job.folder / "arguments.json", job.as_json())
    reporter.stage("curate")
    found = gather(job.domain, job.packs, job.data, store if job.from_log else None)
    dataset = curate(found.rows, found.removed)
    reporter.stage("split")
    parts = split(dataset.rows, found.held_out, seed=job.settings.seed)
    _write(job.folder / "dataset.json", _dataset_report(dataset, parts))
    reporter.stage("train")
    trained = _train(job, parts, reporter)
    reporter.stage("evaluate")
    candidate, rivals = _evaluate(job, parts, registry, reporter)
    judgement = judge(candidate, rivals, leaked=leaked(parts.train, parts.test))
    reporter.stage("publish")
    facts = _facts(job, dataset, parts, candidate, rivals, judgement)
    manifest = registry.publish(job.domain, job.folder / ADAPTER, facts)
    promoted = _move_aliases(job, registry, manifest, judgement)
    result = Result(manifest, trained, dataset, candidate, tuple(rivals), judgement, promoted)
    _write(job.folder / "result.json", result.as_json())
    return result


def _train(job: Job, parts: Split, reporter: Reporter) -> Trained:
    tokenizer = load_tokenizer(job.base_model)
    rows, too_long = encode_all(parts.train, tokenizer, job.settings.max_length)
    validation, _ = encode_all(parts.validation, tokenizer, job.settings.max_length)
    if not rows:
        raise TooFewRows(
            f"all {len(too_long)} training rows are too long for {job.settings.max_length} tokens"
        )
    return train(job.base_model, rows, validation, job.settings, job.folder, reporter)


def _evaluate(
    job: Job, parts: Split, registry: Registry, reporter: Reporter
) -> tuple[Evaluation, list[Evaluation]]:
    """The candidate, and its rivals: the base model, and the champion if there is one."""
    models = InProcess(job.base_model)
    models.load(CANDIDATE, job.folder / ADAPTER)
    names = [CANDIDATE, BASE]
    champion = registry.aliases().get(job.domain, Aliases()).champion
    if champion is not None:
        rival = registry.version(champion)
        registry.obtain(rival)
        models.load(champion, rival.folder)
        names.append(champion)
    results = []
    for index, name in enumerate(names):

        def advance(done: int, total: int, before: int = index) -> None:
            reporter.advance(before * total + done, len(names) * total, {})

        results.append(evaluate(name, parts.test, models.answers(name), advance))
    return results[0], results[1:]


def _facts(
    job: Job,
    dataset: Dataset,
    parts: Split,
    candidate: Evaluation,
    rivals: Sequence[Evaluation],
    judgement: Judgement,
) -> TrainingFacts:
    base = rivals[0]
    template = str(load_tokenizer(job.base_model).chat_template)
    return TrainingFacts(
        base_model=job.base_model.name,
        base_config_hash=config_hash(job.base_model),
        chat_template_hash=hashlib.sha256(template.encode()).hexdigest(),
        rank=job.settings.rank,
        rslora=job.settings.rslora,
        method=job.settings.method,
        target_modules=TARGET_MODULES,
        parent_version=rivals[1].model if len(rivals) > 1 else None,
        data=_dataset_report(dataset, parts) | {"removed": _removals(dataset, parts)},
        seeds={"split": job.settings.seed, "train": job.settings.seed},
        metrics=tuple(
            Metric(
                task=name,
                metric=str(task.metric),
                n=len(task.values),
                score=task.score,
                base_score=base.tasks[name].score,
                ci95=candidate.against(base, name).ci95,
            )
            for name, task in candidate.tasks.items()
        ),
        verdict=judgement.verdict.value,
        verdict_reason=judgement.reason,
        code_version=version("turnout"),
    )


def _move_aliases(job: Job, registry: Registry, manifest: Manifest, judgement: Judgement) -> bool:
    """Only a version that the gate passed gets an alias; returns whether it is champion now."""
    if judgement.verdict is not Verdict.PASS:
        return False
    registry.challenge(manifest.version, actor=ACTOR, reason=judgement.reason)
    if job.promote:
        registry.promote(manifest.version, actor=ACTOR, reason=judgement.reason)
    return job.promote


def _dataset_report(dataset: Dataset, parts: Split) -> dict[str, Any]:
    return {
        "digest": dataset.digest,
        "test_digest": digest(parts.test),
        "rows": {
            "train": len(parts.train),
            "validation": len(parts.validation),
            "test": len(parts.test),
        },
        "grouped_by": parts.grouped_by,
        "removed": [asdict(item) for item in (*dataset.removed, *parts.contaminated)],
    }


def _removals(dataset: Dataset, parts: Split) -> dict[str, int]:
    """How many rows were removed, by reason; the run's folder has the list."""
    return dict(Counter(str(item.reason) for item in (*dataset.removed, *parts.contaminated)))


def _by_task(candidate: Evaluation, rival: Evaluation) -> dict[str, Any]:
    return {name: candidate.against(rival, name).as_json() for name in candidate.tasks}


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
