"""How the domains phase is measured: one domain after the other, every answer kept."""

from collections.abc import Sequence
from pathlib import Path

import click

from adapters.artifacts import Artifacts
from adapters.manifest import MANIFEST, Manifest
from adapters.registry import Registry
from adapters.store import Store
from benchmarks.training.comparison import Compared, Comparison, Rival, Side, Times
from benchmarks.training.domains import DOMAINS, Domain, parts
from benchmarks.training.linear import rivals
from benchmarks.training.plan import Plan
from retrieval.documents import read_documents
from retrieval.encoder import StaticEncoder
from retrieval.ingest import ingest
from training.curation.sources import GENERAL
from training.curation.split import Split
from training.evaluation.evaluate import Answers, Evaluation, evaluate
from training.evaluation.inprocess import BASE, InProcess
from training.evaluation.kept_answers import KeptAnswers, model_digest
from training.facts import learned_from
from training.learning.sft import SftSettings
from training.progress import Reporter
from training.prompting.choose import best_prompt, candidates
from training.prompting.passages import Passages
from training.prompting.prompt import Prompt, Way
from training.run import Job, run


def compare(plan: Plan, reporter: Reporter) -> Comparison:
    """All of the plan's domains that have an adapter, or for which one may be trained."""
    packs = {
        domain.name: domain.write_pack(plan.data, plan.work / "packs", plan.rows)
        for domain in DOMAINS
    }
    compared, missing = [], []
    for domain in DOMAINS:
        if domain.name not in plan.names:
            continue
        reporter.stage(f"{domain.name}: curate")
        pieces = parts(domain.name, tuple(packs.values()), GENERAL)
        times = Times()
        adapter = _adapter(domain, tuple(packs.values()), plan, reporter)
        times("training")
        if adapter is None:
            missing.append(domain.name)
        else:
            compared.append(_compared(domain, pieces, adapter, plan, times, reporter))
    if not compared:
        raise click.UsageError(f"{plan.adapters} holds no adapter of {', '.join(missing)}")
    return Comparison(tuple(compared), tuple(missing))


def newest(state: Path, domain: str) -> Path | None:
    """The folder of a domain's newest version in a state folder, rather one that its gate passed.

    Read without its database, which another run may be writing.
    """
    found = state.glob(f"artifacts/adapters/{domain}/*/{MANIFEST}")
    known = [(Manifest.read(file.parent), file.parent) for file in found]
    if not known:
        return None
    return max(known, key=lambda one: (one[0].verdict == "pass", one[0].number))[1]


def _adapter(domain: Domain, packs: Sequence[Path], plan: Plan, reporter: Reporter) -> Path | None:
    """An adapter of the plan's state, or one trained as `turnout train` trains."""
    if plan.adapters is not None:
        return newest(plan.adapters, domain.name)
    state = plan.work / "state"
    if (there := newest(state, domain.name)) is not None:
        return there
    folder = state / "training" / domain.name
    job = Job(
        domain=domain.name,
        base_model=plan.base,
        folder=folder,
        packs=tuple(packs),
        resume=folder.exists(),
        threads=plan.threads,
        settings=SftSettings(epochs=plan.epochs or domain.epochs),
    )
    store = Store(f"sqlite:///{state}/turnout.db")
    try:
        registry = Registry(store, Artifacts(state / "artifacts", state / "cache"))
        result = run(job, store, registry, reporter)
        return registry.version(result.manifest.version).folder
    finally:
        store.close()


def _compared(
    domain: Domain, pieces: Split, adapter: Path, plan: Plan, times: Times, reporter: Reporter
) -> Compared:
    manifest = Manifest.read(adapter)
    if manifest.learned_from not in ({}, learned_from(pieces)):
        raise click.UsageError(
            f"{manifest.version} has learned from other rows than those of {plan.data}; "
            "give other --adapters or another --work"
        )
    kept = KeptAnswers(plan.work / "answers" / f"{domain.name}.jsonl")
    models = InProcess(plan.base)
    models.load(manifest.version, adapter)
    base = kept.by(model_digest(plan.base), models.answers(BASE))
    ours = kept.by(model_digest(plan.base, adapter), models.answers(manifest.version))
    passages = _passages(domain.name, plan, reporter)
    times("passages")
    prompts = candidates(pieces.train, passages)
    served = candidates(pieces.train, passages, per_question=False)
    reporter.stage(f"{domain.name}: choose prompts")
    best = {
        side: best_prompt(
            base, some, pieces.validation, lambda done, total: reporter.advance(done, total, {})
        )
        for side, some in ((Side.SERVED_PROMPT, served), (Side.BEST_PROMPT, prompts))
    }
    times("choosing the prompts")
    asked = {
        Side.BASE: (base, _of(prompts, Way.PLAIN)),
        Side.GROUNDED_EXAMPLES: (base, _of(prompts, Way.FEW_SHOT_RETRIEVAL)),
        Side.SERVED_PROMPT: (base, best[Side.SERVED_PROMPT]),
        Side.BEST_PROMPT: (base, best[Side.BEST_PROMPT]),
        Side.ADAPTER: (ours, _of(prompts, Way.PLAIN)),
        Side.GROUNDED_ADAPTER: (ours, _of(prompts, Way.RETRIEVAL)),
    }
    sides = {}
    for side, (answers, prompt) in asked.items():
        sides[side] = _evaluation(side, answers, prompt, pieces, domain, reporter)
        times(str(side))
    reporter.stage(f"{domain.name}: linear classifier")
    met = rivals(pieces.train, sides[Side.ADAPTER].tasks)
    found = tuple(Rival(choice, tuple(mine), tuple(its)) for choice, mine, its in met)
    times("linear classifier")
    return Compared(
        domain.name,
        manifest.version,
        manifest.verdict,
        {side: prompt.name for side, prompt in best.items()},
        sides,
        found,
        times.seconds,
    )


def _evaluation(
    side: Side, answers: Answers, prompt: Prompt, pieces: Split, domain: Domain, reporter: Reporter
) -> Evaluation:
    reporter.stage(f"{domain.name}: {side}")
    return evaluate(
        side,
        pieces.test,
        answers,
        lambda done, total: reporter.advance(done, total, {}),
        prompt.apply,
    )


def _of(prompts: Sequence[Prompt], way: Way) -> Prompt:
    return next(prompt for prompt in prompts if prompt.way is way)


def _passages(domain: str, plan: Plan, reporter: Reporter) -> Passages:
    """The domain's documents, found as a gateway finds them."""
    reporter.stage(f"{domain}: documents")
    indexes = plan.work / "indexes"
    ingest(
        read_documents(plan.data / domain / "documents.jsonl"),
        domain=domain,
        root=indexes,
        encoder=StaticEncoder.load(plan.encoder),
        on_progress=lambda done, total: reporter.advance(done, total, {}),
    )
    found = Passages.open(indexes, plan.encoder, domain)
    assert found is not None  # it was just made
    return found
