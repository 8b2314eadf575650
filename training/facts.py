"""What a run knows of its candidate, for the version's manifest."""

import hashlib
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from adapters.manifest import Capability, Comparison, Metric, TrainingFacts, config_hash
from training.curation.card import card
from training.curation.curate import digest
from training.curation.prepare import Prepared
from training.curation.split import Split
from training.environment import environment
from training.evaluation import gate
from training.evaluation.trial import Trial
from training.learning.sft import TARGETS, SftSettings, load_tokenizer


def facts(
    base_model: Path, settings: SftSettings, prepared: Prepared, parts: Split, trial: Trial
) -> TrainingFacts:
    """The facts of a candidate that was trained so, on these parts, and tried so."""
    base = trial.rivals[0]
    judged = trial.judgement
    return TrainingFacts(
        base_model=base_model.name,
        base_config_hash=config_hash(base_model),
        chat_template_hash=template_hash(base_model),
        rank=settings.rank,
        rslora=settings.rslora,
        method=settings.method,
        target_modules=TARGETS[settings.targets],
        parent_version=trial.champion,
        data=card(prepared),
        seeds={"split": settings.seed, "train": settings.seed},
        learned_from=learned_from(parts),
        settings=asdict(settings),
        environment=environment(),
        metrics=tuple(
            Metric(
                task=name,
                metric=str(task.metric),
                n=len(task.values),
                score=task.score,
                base_score=base.tasks[name].score,
                ci95=trial.candidate.against(base, name).ci95,
            )
            for name, task in trial.candidate.tasks.items()
        ),
        comparisons=tuple(Comparison.model_validate(asdict(one)) for one in judged.comparisons),
        capabilities=tuple(_capability(one, found) for one, found in judged.capabilities),
        gate=trial.conditions,
        verdict=judged.verdict.value,
        verdict_reason=judged.reason,
        code_version=version("turnout"),
    )


def template_hash(base_model: Path) -> str:
    """SHA-256 of a model's chat template."""
    template = str(load_tokenizer(base_model).chat_template)
    return hashlib.sha256(template.encode()).hexdigest()


def learned_from(parts: Split) -> dict[str, str]:
    """Digests of what training reads."""
    return {"train": digest(parts.train), "validation": digest(parts.validation)}


def _capability(one: gate.Comparison, found: gate.Retention) -> Capability:
    return Capability(
        name=one.task,
        metric=one.metric,
        n=one.n,
        score=one.score,
        base_score=one.rival_score,
        ci95=one.ci95,
        retention=found.value,
    )
