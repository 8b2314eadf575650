"""What a run knows of its candidate, for the version's manifest."""

import hashlib
from importlib.metadata import version
from pathlib import Path

from adapters.manifest import Metric, TrainingFacts, config_hash
from training.curation.card import card
from training.curation.prepare import Prepared
from training.evaluation.trial import Trial
from training.learning.sft import TARGET_MODULES, SftSettings, load_tokenizer


def facts(
    base_model: Path, settings: SftSettings, prepared: Prepared, trial: Trial
) -> TrainingFacts:
    """The facts of a candidate that was trained so, on this, and tried so."""
    base = trial.rivals[0]
    template = str(load_tokenizer(base_model).chat_template)
    return TrainingFacts(
        base_model=base_model.name,
        base_config_hash=config_hash(base_model),
        chat_template_hash=hashlib.sha256(template.encode()).hexdigest(),
        rank=settings.rank,
        rslora=settings.rslora,
        method=settings.method,
        target_modules=TARGET_MODULES,
        parent_version=trial.rivals[1].model if len(trial.rivals) > 1 else None,
        data=card(prepared),
        seeds={"split": settings.seed, "train": settings.seed},
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
        verdict=trial.judgement.verdict.value,
        verdict_reason=trial.judgement.reason,
        code_version=version("turnout"),
    )
