"""A training run from examples to a registered version, in the order it happens.

What a run reads, does and decides is left in its folder; one that dies registers nothing.
"""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from msgspec import DecodeError, to_builtins
from msgspec.json import decode

from adapters.manifest import CARD, Manifest
from adapters.registry import Registry
from adapters.store import Store
from training.curation.card import write_dataset
from training.curation.curate import Filters
from training.curation.formats import read_examples
from training.curation.prepare import Prepared, prepare, refuse_leaks
from training.curation.sources import GENERAL, gather
from training.curation.split import Split
from training.errors import DataError, TooFewRows
from training.evaluation.capabilities import read_protected
from training.evaluation.gate import Judgement, Verdict
from training.evaluation.kept_answers import KeptAnswers
from training.evaluation.trial import Trial, TrialSettings, hold_trial
from training.facts import facts
from training.kept import DATASET, forget, keep, kept, start_over
from training.learning.learn import LEARNED, learn
from training.learning.sft import ADAPTER, SftSettings, check_device
from training.learning.watch import Trained
from training.model_card import model_card
from training.progress import Reporter
from training.prompting.passages import Passages
from training.prompting.serving import ground_some
from training.rows import Kind, Row

ACTOR = "turnout train"
ARGUMENTS, RESULT = "arguments.json", "result.json"
ANSWERS = "answers.jsonl"  # beside the runs' folders: one run's base model is the next one's


class Launch(Protocol):
    """What stands for `learn`: in this process by default, or on a cluster."""

    def __call__(
        self,
        base: Path,
        parts: Split,
        settings: SftSettings,
        folder: Path,
        reporter: Reporter,
        *,
        resume: bool = False,
    ) -> Trained:
        """Leave an adapter in the folder."""


@dataclass(frozen=True, slots=True)
class Job:
    """What to train, from what, where to leave traces. `data` replaces the pack's train.jsonl;
    `reviewed` adds what annotators accepted, as `from_log` does; `general` are rows against
    forgetting, None for the shipped ones; `indexes` hold the passages that the log names, and those
    that `grounded_share` of the other rows are learned with, in which case the trial asks with
    passages; keys in `opted_out` give nothing.

    `validation` is kept out of training. It is what epochs are compared by; where the pack has no
    evaluation set it is what the candidate is judged by instead, never both. `resume`: the folder
    holds what an interrupted run of this job left.
    """

    domain: str
    base_model: Path
    folder: Path
    packs: tuple[Path, ...] = ()
    data: Path | None = None
    from_log: bool = False
    reviewed: bool = False
    validation: Path | None = None
    general: Path | None = None
    indexes: Path | None = None
    encoder: Path | None = None
    filters: Filters = Filters()
    opted_out: tuple[str, ...] = ()
    grounded_share: float = 0.0
    challenge: bool = True
    promote: bool = False
    resume: bool = False
    threads: int | None = None
    settings: SftSettings = SftSettings()
    trial: TrialSettings = TrialSettings()

    def as_json(self) -> dict[str, Any]:
        """The arguments, as they are kept beside the results."""
        values: dict[str, Any] = to_builtins(self, enc_hook=str, order="deterministic")
        return values

    @classmethod
    def read(cls, folder: Path) -> "Job":
        """The job whose run was interrupted in this folder; raises DataError if there is none."""
        try:
            job = decode((folder / ARGUMENTS).read_bytes(), type=cls, dec_hook=_path)
        except FileNotFoundError as exc:
            raise DataError(f"{folder} is no folder of a run: it has no {ARGUMENTS}") from exc
        except DecodeError as exc:
            raise DataError(f"{folder / ARGUMENTS} cannot be read: {exc}") from exc
        if (folder / RESULT).exists():
            raise DataError(f"the run in {folder} has ended: {RESULT} there says how")
        return replace(job, folder=folder, resume=True)


def _path(kind: type, value: Any) -> Path:
    return Path(value)


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


def run(
    job: Job, store: Store, registry: Registry, reporter: Reporter, launch: Launch = learn
) -> Result:
    """Curate, split, train, evaluate, publish, move the aliases.

    The version becomes its domain's challenger if the gate passes it, and champion if the job
    says so too.
    """
    check_device(job.settings)
    if job.threads is not None:
        torch.set_num_threads(job.threads)
    job.folder.mkdir(parents=True, exist_ok=True)
    _write(job.folder / ARGUMENTS, job.as_json())
    reporter.stage("curate")
    passages = _passages(job)
    prepared = kept(job.folder) if job.resume else None
    prepared = prepared or _prepare(job, store, passages, reporter)
    parts = prepared.parts.of(*LEARNED[job.settings.method])
    answers = parts.of(Kind.SFT)
    if not parts.train or not answers.test:
        raise TooFewRows(f"{job.domain} has no answers to learn from, or none to be tested on")
    reporter.stage("train")
    trained = launch(job.base_model, parts, job.settings, job.folder, reporter, resume=job.resume)
    adapter = job.folder / ADAPTER
    trial = hold_trial(
        job.domain,
        job.base_model,
        adapter,
        answers,
        registry,
        reporter,
        kept=KeptAnswers(job.folder.parent / ANSWERS),
        passages=passages,
        grounded=prepared.index is not None,
        settings=job.trial,
    )
    reporter.stage("publish")
    known = facts(job.base_model, job.settings, prepared, parts, trial)
    (adapter / CARD).write_text(model_card(job.domain, known), encoding="utf-8")
    manifest = registry.publish(job.domain, adapter, known)
    promoted = _move_aliases(job, registry, manifest, trial.judgement)
    result = Result(manifest, trained, prepared, trial, promoted)
    _write(job.folder / RESULT, result.as_json())
    forget(job.folder)
    return result


def _prepare(job: Job, store: Store, passages: Passages | None, reporter: Reporter) -> Prepared:
    start_over(job.folder)
    found = gather(
        job.domain,
        job.packs,
        job.data,
        store if job.from_log else None,
        reviews=store if job.from_log or job.reviewed else None,
        general=job.general or GENERAL,
        indexes=job.indexes,
        opted_out=job.opted_out,
    )
    validation: tuple[Row, ...] = ()
    if job.validation is not None:
        rows = tuple(read_examples(job.validation))
        named = {**found.evaluations, "the validation file": rows}
        validation = () if found.held_out is None else rows
        found = replace(found, held_out=found.held_out or rows, evaluations=named)
    guarded = {f"what is protected: {name}": rows for name, rows in _protected(job).items()}
    found = replace(found, evaluations={**found.evaluations, **guarded})
    prepared = prepare(
        job.domain,
        found,
        job.filters,
        seed=job.settings.seed,
        progress=lambda done, total: reporter.advance(done, total, {}),
    )
    if validation:
        prepared = _validated_by(prepared, validation)
    if passages is not None and job.grounded_share:
        prepared = _with_passages(prepared, passages, job)
    write_dataset(prepared, job.folder / DATASET)
    keep(prepared, job.folder)
    return prepared


def _validated_by(prepared: Prepared, rows: tuple[Row, ...]) -> Prepared:
    """These rows in place of those that were set aside to compare epochs by, which are learned."""
    before = prepared.parts
    parts = replace(before, train=(*before.train, *before.validation), validation=rows)
    refuse_leaks(parts, {})
    return replace(prepared, parts=parts)


def _with_passages(prepared: Prepared, passages: Passages, job: Job) -> Prepared:
    parts = prepared.parts
    train, validation = (
        ground_some(rows, passages, job.grounded_share, job.settings.seed)
        for rows in (parts.train, parts.validation)
    )
    parts = replace(parts, train=train, validation=validation)
    return replace(prepared, parts=parts, index=passages.version)


def _passages(job: Job) -> Passages | None:
    """What the domain's questions are answered from; None where nothing is to be searched."""
    if job.indexes is None or job.encoder is None:
        return None
    return Passages.open(job.indexes, job.encoder, job.domain, job.packs)


def _protected(job: Job) -> dict[str, tuple[Row, ...]]:
    """What is not to be forgotten, by capability: no copy of it may be learned."""
    rows = read_protected(job.trial.protect)
    names = sorted({row.task for row in rows})
    return {name: tuple(row for row in rows if row.task == name) for name in names}


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
