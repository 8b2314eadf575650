"""A training run from examples to a registered version, in the order it happens.

What a run reads, does and decides is left in its folder; one that dies registers nothing.
"""

import json
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from adapters.manifest import Manifest
from adapters.registry import Registry
from adapters.store import Store
from training.curation.card import write_dataset
from training.curation.curate import Filters
from training.curation.formats import read_examples
from training.curation.prepare import Prepared, prepare
from training.curation.sources import gather
from training.errors import TooFewRows
from training.evaluation.gate import Judgement, Verdict
from training.evaluation.trial import Trial, hold_trial
from training.facts import facts
from training.learning.learn import learn
from training.learning.sft import ADAPTER, LOG, SftSettings
from training.learning.watch import Trained
from training.progress import Reporter
from training.rows import Kind

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
    trial: Trial
    promoted: bool

    def as_json(self) -> dict[str, Any]:
        """The document of `turnout train --json`."""
        return {
            "version": self.manifest.version,
            "domain": self.manifest.domain,
            "verdict": str(self.trial.judgement.verdict),
            "reason": self.trial.judgement.reason,
            "promoted": self.promoted,
            "evaluation": self.trial.as_json(),
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
    trained = learn(job.base_model, parts, job.settings, job.folder, reporter)
    reporter.stage("evaluate")
    adapter = job.folder / ADAPTER
    trial = hold_trial(job.domain, job.base_model, adapter, parts.test, registry, reporter)
    reporter.stage("publish")
    known = facts(job.base_model, job.settings, prepared, trial)
    manifest = registry.publish(job.domain, adapter, known)
    promoted = _move_aliases(job, registry, manifest, trial.judgement)
    result = Result(manifest, trained, prepared, trial, promoted)
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


def _move_aliases(job: Job, registry: Registry, manifest: Manifest, judgement: Judgement) -> bool:
    """Only a version that the gate passed gets an alias; returns whether it is champion now."""
    if judgement.verdict is not Verdict.PASS:
        return False
    if job.challenge:
        registry.challenge(manifest.version, actor=ACTOR, reason=judgement.reason)
    if job.promote:
        registry.promote(manifest.version, actor=ACTOR, reason=judgement.reason)
    return job.promote


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
