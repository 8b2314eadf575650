"""A candidate and its rivals answer the same held-out questions, and the gate judges."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapters.registry import Aliases, Registry
from training.evaluation.evaluate import Evaluation, evaluate
from training.evaluation.gate import Judgement, judge
from training.evaluation.inprocess import BASE, InProcess
from training.progress import Reporter
from training.rows import Row

CANDIDATE = "candidate"


@dataclass(frozen=True, slots=True)
class Trial:
    """What the candidate and its rivals scored, and the verdict. The first rival is the base."""

    candidate: Evaluation
    rivals: tuple[Evaluation, ...]
    judgement: Judgement

    def as_json(self) -> dict[str, Any]:
        """The candidate's evaluation, and how it differs from each rival's by task."""
        differences = {
            rival.model: {
                task: self.candidate.against(rival, task).as_json() for task in self.candidate.tasks
            }
            for rival in self.rivals
        }
        return self.candidate.as_json(self.rivals) | {"tasks_against": differences}


def hold_trial(
    domain: str,
    base_model: Path,
    adapter: Path,
    test: Sequence[Row],
    registry: Registry,
    reporter: Reporter,
) -> Trial:
    """Try the adapter against the base model, and against the domain's champion if there is one."""
    models = InProcess(base_model)
    models.load(CANDIDATE, adapter)
    names = [CANDIDATE, BASE]
    champion = registry.aliases().get(domain, Aliases()).champion
    if champion is not None:
        rival = registry.version(champion)
        registry.obtain(rival)
        models.load(champion, rival.folder)
        names.append(champion)
    results = []
    for index, name in enumerate(names):

        def advance(done: int, total: int, before: int = index) -> None:
            reporter.advance(before * total + done, len(names) * total, {})

        results.append(evaluate(name, test, models.answers(name), advance))
    candidate, rivals = results[0], tuple(results[1:])
    return Trial(candidate, rivals, judge(candidate, rivals))
