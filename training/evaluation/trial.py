"""A candidate and its rivals answer the same held-out questions, and the gate judges.

The rivals are the base model, the base model with the best prompt that it could be served with, and
the champion.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from adapters.registry import Aliases, Registry, Version
from training.curation.curate import digest
from training.curation.split import Split, leaked
from training.evaluation.capabilities import read_protected
from training.evaluation.evaluate import Answers, Evaluation, Question, evaluate, questions
from training.evaluation.gate import Criteria, Evidence, Judgement, judge
from training.evaluation.inprocess import BASE, InProcess
from training.evaluation.kept_answers import KeptAnswers, model_digest
from training.evaluation.likelihood import Likelihood
from training.evaluation.sampling import sample
from training.progress import Reporter
from training.prompting.choose import best_prompt, candidates
from training.prompting.passages import Passages
from training.prompting.prompt import Prompt, Way
from training.prompting.serving import as_served
from training.rows import Row

CANDIDATE = "candidate"

Ask = Callable[[Sequence[Row]], list[Question]]
_Contestant = tuple[str, Answers, Ask]


@dataclass(frozen=True, slots=True)
class TrialSettings:
    """What is asked, and how much of it: where there are more rows, chance draws by `seed`.

    Args:
        rows: of each task.
        prompt_rows: of each task of the validation part, by which the base model's prompt is
            chosen.
        protected_rows: of each capability.
        protect: files of rows that must not be forgotten; none for the shipped ones.
    """

    rows: int = 300
    prompt_rows: int = 20
    protected_rows: int = 40
    protect: tuple[Path, ...] = ()
    criteria: Criteria = Criteria()
    seed: int = 0

    @classmethod
    def of(cls, values: Mapping[str, Any], protect: Sequence[Path]) -> "TrialSettings":
        """Of what is under `[training.trial]`."""
        criteria = Criteria(**values.get("criteria", {}))
        return cls(**{**values, "criteria": criteria, "protect": tuple(protect)})


@dataclass(frozen=True, slots=True)
class Trial:
    """What the candidate and its rivals scored, and the verdict. The first rival is the base.

    `protected` is the candidate and the base on what is not to be forgotten; `conditions` is what
    else the verdict rests on, for the manifest.
    """

    candidate: Evaluation
    rivals: tuple[Evaluation, ...]
    protected: tuple[Evaluation, Evaluation]
    champion: str | None
    judgement: Judgement
    conditions: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        """The candidate's evaluation, how it differs from each rival's by task, and what it kept of
        each capability."""
        differences = {
            rival.model: {
                task: self.candidate.against(rival, task).as_json() for task in self.candidate.tasks
            }
            for rival in self.rivals
        }
        capabilities = {
            one.task: asdict(one) | {"retention": str(found)}
            for one, found in self.judgement.capabilities
        }
        return self.candidate.as_json(self.rivals) | {
            "tasks_against": differences,
            "capabilities": capabilities,
            "gate": self.conditions,
        }


def hold_trial(
    domain: str,
    base_model: Path,
    adapter: Path,
    parts: Split,
    registry: Registry,
    reporter: Reporter,
    *,
    kept: KeptAnswers,
    passages: Passages | None = None,
    grounded: bool = False,
    settings: TrialSettings = TrialSettings(),
) -> Trial:
    """Try the adapter on the test part against the base model, as it is and as it is best asked,
    and against the domain's champion if there is one. What `kept` knows is not asked again.
    `grounded`: all are asked with passages, if there are any, as a gateway asks them.

    Raises:
        DataError: a file of `settings.protect` cannot be used.
    """
    test = sample(parts.test, settings.rows, settings.seed)
    guarded = sample(read_protected(settings.protect), settings.protected_rows, settings.seed)
    models = InProcess(base_model)
    models.load(CANDIDATE, adapter)
    served = passages if grounded else None
    ask = as_served(served)

    def answers(name: str, *adapters: Path) -> Answers:
        return kept.by(model_digest(base_model, *adapters), models.answers(name))

    mine, base = answers(CANDIDATE, adapter), answers(BASE)
    contestants: list[_Contestant] = [(CANDIDATE, mine, ask), (BASE, base, ask)]
    if champion := _champion(domain, registry):
        models.load(champion.name, champion.folder)
        rival = answers(champion.name, champion.folder)
        contestants.append((champion.name, rival, ask))
    tested = {row.task for row in test}
    reporter.stage("choose the base model's prompt")
    prompt = best_prompt(
        base,
        candidates(parts.train, passages, per_question=False)
        if settings.prompt_rows
        else [Prompt("plain")],
        [row for row in parts.validation if row.task in tested],
        lambda done, total: reporter.advance(done, total, {}),
        rows=settings.prompt_rows,
        seed=settings.seed,
    )
    if prompt.way is not Way.PLAIN or served is not None:
        contestants.append((f"{BASE} with {prompt.name}", base, prompt.apply))
    reporter.stage("evaluate")
    exam = _Exam(reporter, len(contestants) * len(test) + 2 * len(guarded))
    candidate, *rivals = (exam(name, test, answers, ask) for name, answers, ask in contestants)
    protected = exam(CANDIDATE, guarded, mine), exam(BASE, guarded, base)
    leaks = _leaks(parts, guarded)
    evidence = Evidence(candidate, tuple(rivals), protected, leaks)
    conditions = {
        "criteria": asdict(settings.criteria),
        "rows_per_task": settings.rows,
        "rows_per_capability": settings.protected_rows,
        "seed": settings.seed,
        "best_prompt": prompt.name,
        "index": None if passages is None else passages.version,
        "grounded": served is not None,
        "protected_digest": digest(guarded),
        "leaked": leaks,
        "loss_per_token": _losses(models, guarded),
    }
    judgement = judge(evidence, settings.criteria)
    return Trial(
        candidate,
        tuple(rivals),
        protected,
        champion.name if champion else None,
        judgement,
        conditions,
    )


def _champion(domain: str, registry: Registry) -> Version | None:
    name = registry.aliases().get(domain, Aliases()).champion
    if name is None:
        return None
    version = registry.version(name)
    registry.obtain(version)
    return version


def _leaks(parts: Split, guarded: Sequence[Row]) -> dict[str, int]:
    """Rows of the test part and of each capability that are near-copies of what was learned, though
    curation has removed these: counted once more on what is asked."""
    seen = (*parts.train, *parts.validation)
    names = sorted({row.task for row in guarded})
    return {"the test part": leaked(seen, parts.test)} | {
        name: leaked(seen, [row for row in guarded if row.task == name]) for name in names
    }


def _losses(models: InProcess, guarded: Sequence[Row]) -> dict[str, dict[str, float | None]]:
    """Mean loss of the expected answers' tokens, in nats, by capability: not judged, but it moves
    before answers do."""
    found: dict[str, dict[str, float | None]] = {}
    for model in (CANDIDATE, BASE):
        losses = models.losses(model, guarded)
        for name in sorted({row.task for row in guarded}):
            some = (one for row, one in zip(guarded, losses, strict=True) if row.task == name)
            found.setdefault(name, {})[model] = Likelihood(tuple(some)).as_json()["loss"]
    return found


class _Exam:
    """Asks models in turn, with one progress bar over all of them."""

    def __init__(self, reporter: Reporter, total: int) -> None:
        self._reporter, self._total, self._done = reporter, total, 0

    def __call__(
        self, name: str, rows: Sequence[Row], answers: Answers, ask: Ask = questions
    ) -> Evaluation:
        before = self._done

        def advance(done: int, total: int) -> None:
            self._reporter.advance(before + done, self._total, {})

        result = evaluate(name, rows, answers, advance, ask)
        self._done += len(rows)
        return result
