"""A training run from examples to a registered version, in the order it happens.

What a run reads, does and decides is left in its folder; one that dies registers nothing.
"""

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from adapters.manifest import Manifest, Metric, TrainingFacts, config_hash
from adapters.registry import Aliases, Registry
from adapters.store import Store
from training.card import card, write_dataset
from training.curate import Filters
from training.dataset import Split, encode_all
from training.errors import TooFewRows
from training.evaluate import Evaluation, evaluate
from training.formats import read_examples
from training.gate import Judgement, Verdict, judge
from training.inprocess import BASE, InProcess
from training.prepare import Prepared, prepare
from training.progress import Reporter
from training.rows import Kind
from training.sft import ADAPTER, LOG, TARGET_MODULES, SftSettings, load_tokenizer, train
from training.sources import gather
from training.watch import Trained

CANDIDATE = "candidate"
ACTOR = "turnout train"


@dataclass(frozen=True, slots=True)
class Job:
    """What to train, from what, where to leave traces. `data` replaces the pack's train.jsonl;
    `general` are rows against forgetting, `indexes` hold the passages that the log names, keys in
    `opted_out` give nothing.

    `validation` is kept out of training, and what the candidate is judged by where the pack has no
    evaluation set. `resume`: the folder holds what an interrupted run of this job left.
    """

    domain: str
    base_model: Path
    folder: Path
    packs: tuple[Path, ...] = ()
    data: Path | None = None
    from_log: bool = False
    validation: Path | None = None
    general: Path | None = None
    indexes: Path | None = None
    filters: Filters = Filters()
    opted_out: tuple[str, ...] = ()
    challenge: bool = True
    promote: bool = False
    resume: bool = False
    threads: int | None = None
    settings: SftSettings = SftSettings()

    def as_json(self) -> dict[str, Any]:
        """The arguments, as they are kept beside the results."""
        values = asdict(self)
        for name in ("base_model", "folder", "data", "validation", "general", "indexes"):
            values[name] = str(values[name] or "")
        values["packs"] = [str(pack) for pack in self.packs]
        values["filters"]["languages"] = sorted(self.filters.languages)
        return values


@dataclass(frozen=True, slots=True)
class Result:
    """What a run came to."""

    manifest: Manifest
    trained: Trained
    prepared: Prepared
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
            "dataset": {
                "digest": self.prepared.dataset.digest,
                **self.prepared.dataset.counts,
            },
        }


def run(job: Job, store: Store, registry: Registry, reporter: Reporter) -> Result:
    """Curate, split, train, evaluate, publish, move the aliases.

    The version becomes its domain's challenger if the gate passes it, and champion if the job
    says so too.
    """
    if job.resume:
        _start_over(job.folder)
    if job.threads is not None:
        torch.set_num_threads(job.threads)
    job.folder.mkdir(parents=True, exist_ok=True)
    _write(job.folder / "arguments.json", job.as_json())
    reporter.stage("curate")
    prepared = _prepare(job, store, reporter)
    parts = prepared.parts.of(Kind.SFT)
    if not parts.train or not parts.test:
        raise TooFewRows(f"{job.domain} has no answers to learn from, or none to be tested on")
    reporter.stage("train")
    trained = _train(job, parts, reporter)
    reporter.stage("evaluate")
    candidate, rivals = _evaluate(job, parts, registry, reporter)
    judgement = judge(candidate, rivals)
    reporter.stage("publish")
    facts = _facts(job, prepared, candidate, rivals, judgement)
    manifest = registry.publish(job.domain, job.folder / ADAPTER, facts)
    promoted = _move_aliases(job, registry, manifest, judgement)
    result = Result(manifest, trained, prepared, candidate, tuple(rivals), judgement, promoted)
    _write(job.folder / "result.json", result.as_json())
    return result


def _start_over(folder: Path) -> None:
    """Clear away what was interrupted: there is no checkpoint to go on from, and the log may have
    grown since."""
    shutil.rmtree(folder / "dataset", ignore_errors=True)
    (folder / LOG).unlink(missing_ok=True)


def _prepare(job: Job, store: Store, reporter: Reporter) -> Prepared:
    found = gather(
        job.domain,
        job.packs,
        job.data,
        store if job.from_log else None,
        general=job.general,
        indexes=job.indexes,
        opted_out=job.opted_out,
    )
    if job.validation is not None:
        rows = tuple(read_examples(job.validation))
        named = {**found.evaluations, "the validation file": rows}
        found = replace(found, held_out=found.held_out or rows, evaluations=named)
    prepared = prepare(
        job.domain,
        found,
        job.filters,
        seed=job.settings.seed,
        progress=lambda done, total: reporter.advance(done, total, {}),
    )
    write_dataset(prepared, job.folder / "dataset")
    return prepared


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
    prepared: Prepared,
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
        data=card(prepared),
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
    if job.challenge:
        registry.challenge(manifest.version, actor=ACTOR, reason=judgement.reason)
    if job.promote:
        registry.promote(manifest.version, actor=ACTOR, reason=judgement.reason)
    return job.promote


def _by_task(candidate: Evaluation, rival: Evaluation) -> dict[str, Any]:
    return {name: candidate.against(rival, name).as_json() for name in candidate.tasks}


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
